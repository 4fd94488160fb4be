//! The class of service of a container that exists.

use super::{Group, Made, Measured, RdtStats, Root, Schemata};
use crate::container::Container;
use crate::error::{At, Error, ErrorKind, Result};
use crate::plan::rdt::{Class, RdtPlan, is_valid};
use crate::prepare::state_dir::NEW_STATE;
use crate::state::Record;
use oci_spec::runtime::LinuxIntelRdt;
use rustix::fs::{Dir, Mode, OFlags, openat};

const UPDATE: &str = "update container";

impl Container {
    /// Gives its class of service of the processor other schemata; an empty text changes nothing. A
    /// container without a class gets one of its own, with all its processes.
    ///
    /// # Errors
    /// `Unsupported` where the machine has no such thing, `WrongState` where it does not run,
    /// `InvalidSpec` for what is no schema, or what the kernel answers.
    pub fn update_class_of_service(&self, l3_cache: &str, memory_bandwidth: &str) -> Result<()> {
        let refuse =
            |why: &str| Error::new(ErrorKind::Unsupported, UPDATE, self.id().as_str()).because(why);
        let facts = super::facts();
        if !l3_cache.is_empty() && !facts.cache {
            return Err(refuse("Intel RDT/CAT: l3 cache schema is not enabled"));
        }
        if !memory_bandwidth.is_empty() && !facts.bandwidth {
            let why = "Intel RDT/MBA: memory bandwidth schema is not enabled";
            return Err(refuse(why));
        }
        let schemata = Schemata::new(l3_cache, memory_bandwidth, &[]);
        let wrong = |why: String| {
            Error::new(ErrorKind::InvalidSpec, UPDATE, self.id().as_str()).because(why)
        };
        schemata.check().map_err(wrong)?;
        let _turn = self.dir().lock()?;
        let (mut record, _pidfd) = self.alive(UPDATE)?;
        match Group::of(&record) {
            Some(class) => class.write(&schemata)?,
            None => self.enter_class(&mut record, schemata)?,
        }
        let mut spec = self.spec()?;
        let mut linux = spec.linux().clone().unwrap_or_default();
        let mut rdt: LinuxIntelRdt = linux.intel_rdt().clone().unwrap_or_default();
        if !l3_cache.is_empty() {
            rdt.set_l3_cache_schema(Some(l3_cache.to_owned()));
        }
        if !memory_bandwidth.is_empty() {
            rdt.set_mem_bw_schema(Some(memory_bandwidth.to_owned()));
        }
        linux.set_intel_rdt(Some(rdt));
        spec.set_linux(Some(linux));
        self.dir().replace_config(&crate::bundle::to_bytes(&spec)?)
    }

    /// Makes it a class of its own, and moves there whoever is in it.
    fn enter_class(&self, record: &mut Record, schemata: Schemata) -> Result<()> {
        if !is_valid(self.id().as_str()) {
            return Err(self.wrong_state(UPDATE, "its id can be no class of service"));
        }
        let plan = RdtPlan {
            class: Class::Own(self.id().to_string()),
            schemata,
            monitor: None,
        };
        let class = Group::make(Root::open()?, &plan)?;
        // Twice: a thread may have made another while the first list was read.
        for _ in 0..2 {
            for pid in self.pids()? {
                self.move_threads(pid, &class)?;
            }
        }
        record.rdt = Some(class.made().clone());
        self.dir().unlink(NEW_STATE)?;
        self.dir().write(NEW_STATE, &record.to_bytes()?)?;
        self.dir().publish()?;
        class.commit();
        Ok(())
    }

    /// A class is a thing of threads; whoever is cloned by one that was moved is there as well.
    fn move_threads(&self, pid: i32, class: &Group) -> Result<()> {
        let path = format!("{pid}/task");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(tasks) = openat(self.runtime.host.proc()?, &path, flags, Mode::empty()) else {
            // It has ended.
            return Ok(());
        };
        for entry in Dir::new(tasks).at("read /proc directory", &path)? {
            let Ok(entry) = entry else { break };
            let name = entry.file_name().to_str().unwrap_or_default();
            let Ok(tid) = name.parse() else { continue };
            match class.join(tid) {
                Err(error) if error.errno() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// What its class of service has and its processes used; `None` where it has none.
    ///
    /// # Errors
    /// `WrongState` while it is being made.
    pub fn rdt_stats(&self) -> Result<Option<RdtStats>> {
        let Some(record) = self.record()?.filter(|record| record.rdt.is_some()) else {
            return Ok(None);
        };
        let Some(class) = Group::of(&record) else {
            return Ok(None);
        };
        Ok(Some(class.stats(measured(&self.spec()?))))
    }

    /// Removes what of its class is its own.
    pub(crate) fn remove_class(&self, record: Option<&Record>) -> Result<()> {
        let made = match record {
            Some(record) => record.rdt.clone(),
            None => self.class_by_config(),
        };
        // Nearly all have none: the mount is looked for only then.
        made.map_or(Ok(()), |made| made.remove())
    }

    /// Of a creation that was cut short before it could write down what it made.
    fn class_by_config(&self) -> Option<Made> {
        let spec = self.spec().ok()?;
        let rdt = spec.linux().as_ref()?.intel_rdt().clone()?;
        let given = rdt.clos_id().clone().filter(|id| !id.is_empty());
        let class = match given.as_deref() {
            Some("/") => String::new(),
            Some(name) => name.to_owned(),
            None => self.id().to_string(),
        };
        let monitored = rdt.enable_monitoring().unwrap_or(false);
        (class.is_empty() || is_valid(&class)).then(|| Made {
            class,
            own: given.is_none(),
            monitor: monitored.then(|| self.id().to_string()),
        })
    }
}

fn measured(spec: &oci_spec::runtime::Spec) -> Measured {
    let rdt = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.intel_rdt().as_ref());
    let asked = |key: fn(&LinuxIntelRdt) -> Option<bool>| rdt.and_then(key).unwrap_or(false);
    let all = asked(|rdt| *rdt.enable_monitoring());
    Measured {
        cache: all || asked(|rdt| *rdt.enable_cmt()),
        bandwidth: all || asked(|rdt| *rdt.enable_mbm()),
    }
}
