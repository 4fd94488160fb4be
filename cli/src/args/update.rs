//! `hostrun update`.

use clap::Parser;

/// Change how much a container may use, while it runs.
///
/// With --resources the other options are passed over.
#[derive(Debug, Parser, Default)]
#[command(name = "update", bin_name = "hostrun update")]
pub(crate) struct Update {
    /// Take everything from FILE, or from standard input where it is -: the object that config.json has at linux.resources
    #[arg(short = 'r', long, value_name = "FILE")]
    pub(crate) resources: Option<String>,
    /// The weight of its input and output, 10 to 1000
    #[arg(
        long,
        value_name = "WEIGHT",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(crate) blkio_weight: u16,
    /// The period of the processor quota, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub(crate) cpu_period: Option<String>,
    /// Processor time in each period, in microseconds; -1 for no limit
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<String>,
    /// Processor time that may be saved up, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub(crate) cpu_burst: Option<String>,
    /// The weight of its processor time
    #[arg(long, value_name = "SHARES", allow_hyphen_values = true)]
    pub(crate) cpu_share: Option<String>,
    /// The period of real-time scheduling, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub(crate) cpu_rt_period: Option<String>,
    /// Real-time processor time in each period, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub(crate) cpu_rt_runtime: Option<String>,
    /// 1 gives it only time that nobody else wants
    #[arg(long, value_name = "0|1", allow_hyphen_values = true)]
    pub(crate) cpu_idle: Option<String>,
    /// Which processors, such as 0-2,5
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Which memory nodes, such as 0,1
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
    /// How much memory; -1 for no limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory: Option<String>,
    /// How much memory is kept for it
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory_reservation: Option<String>,
    /// How much memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Obsolete
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, hide = true)]
    pub(crate) kernel_memory: Option<String>,
    /// Obsolete
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, hide = true)]
    pub(crate) kernel_memory_tcp: Option<String>,
    /// How many processes and threads; -1 for no limit
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) pids_limit: i64,
    /// The schema of the L3 cache
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) l3_cache_schema: Option<String>,
    /// The schema of the memory bandwidth
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) mem_bw_schema: Option<String>,
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}
