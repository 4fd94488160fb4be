//! `linux.resources.blockIO`: the io controller.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use super::{IoWeight, Reader, at};

impl Reader {
    pub(super) fn block_io(&mut self, io: &LinuxBlockIo) {
        self.weight("blockIO.weight", None, io.weight());
        self.only_v1("blockIO.leafWeight", io.leaf_weight().unwrap_or(0) == 0);
        for (index, device) in io.weight_device().iter().flatten().enumerate() {
            self.device_weight(index, device);
        }
        let mut lib = LinuxBlockIo::default();
        lib.set_throttle_read_bps_device(self.throttles(
            "throttleReadBpsDevice",
            "rbps",
            io.throttle_read_bps_device().as_deref(),
        ));
        lib.set_throttle_write_bps_device(self.throttles(
            "throttleWriteBpsDevice",
            "wbps",
            io.throttle_write_bps_device().as_deref(),
        ));
        lib.set_throttle_read_iops_device(self.throttles(
            "throttleReadIOPSDevice",
            "riops",
            io.throttle_read_iops_device().as_deref(),
        ));
        lib.set_throttle_write_iops_device(self.throttles(
            "throttleWriteIOPSDevice",
            "wiops",
            io.throttle_write_iops_device().as_deref(),
        ));
        if lib != LinuxBlockIo::default() {
            self.out.lib.set_block_io(Some(lib));
        }
    }

    fn device_weight(&mut self, index: usize, device: &LinuxWeightDevice) {
        let path = format!("blockIO.weightDevice[{index}]");
        if let Some(number) = self.device_number(&path, device.major(), device.minor()) {
            self.weight(&format!("{path}.weight"), Some(number), device.weight());
        }
        let leaf = device.leaf_weight().unwrap_or(0);
        self.only_v1(&format!("{path}.leafWeight"), leaf == 0);
    }

    fn weight(&mut self, path: &str, device: Option<(u32, u32)>, weight: Option<u16>) {
        match weight {
            None | Some(0) => {}
            Some(weight @ 10..=1000) => {
                self.need("io", path);
                self.out.io_weights.push(IoWeight {
                    device,
                    weight,
                    setting: at(path),
                });
            }
            Some(weight) => self.refuse(path, format!("{weight} is not between 10 and 1000")),
        }
    }

    /// Keeps the throttles that ask for a limit; `None` where there is none. In a cgroup that lives, 0
    /// lifts one.
    fn throttles(
        &mut self,
        name: &str,
        key: &str,
        devices: Option<&[LinuxThrottleDevice]>,
    ) -> Option<Vec<LinuxThrottleDevice>> {
        let mut kept = Vec::new();
        for (index, device) in devices.unwrap_or_default().iter().enumerate() {
            let path = format!("blockIO.{name}[{index}]");
            let number = self.device_number(&path, device.major(), device.minor());
            let Some((major, minor)) = number else {
                continue;
            };
            if device.rate() == 0 && self.live {
                let value = format!("{major}:{minor} {key}=max");
                self.own("io", &format!("{path}.rate"), "io.max", value);
            }
            if device.rate() > 0 {
                let value = format!("{major}:{minor} {key}={}", device.rate());
                self.lib("io", &format!("{path}.rate"), "io.max", value);
                kept.push(*device);
            }
        }
        (!kept.is_empty()).then_some(kept)
    }

    fn device_number(&mut self, path: &str, major: i64, minor: i64) -> Option<(u32, u32)> {
        if let (Ok(major), Ok(minor)) = (u32::try_from(major), u32::try_from(minor)) {
            return Some((major, minor));
        }
        self.refuse(path, format!("{major}:{minor} is not a device number"));
        None
    }
}
