//! The default system call filter, through probes of one call each.

use anyhow::Result;
use hostrun_integration::image::Image;
use hostrun_integration::{elf, on_stage_of_hostrun, program};

const EPERM: i32 = 1;
const EBADF: i32 = 9;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;

/// What is called, the program that calls it, and the errno that must come back.
fn probes() -> [(&'static str, Vec<u8>, i32); 16] {
    let call = |number, args| elf::system_call(number, args);
    let call_32 = |number, args| elf::system_call_32(number, args);
    let none = [0; 3];
    [
        ("a number no kernel has yet", call(2000, none), ENOSYS),
        ("close of nothing", call(3, [999, 0, 0]), EBADF),
        (
            "unshare of a user namespace",
            call(272, [0x1000_0000, 0, 0]),
            EPERM,
        ),
        ("add_key", call(248, none), EPERM),
        ("keyctl", call(250, none), EPERM),
        ("init_module", call(175, none), EPERM),
        ("kexec_load", call(246, none), EPERM),
        ("bpf", call(321, none), EPERM),
        ("io_uring_setup", call(425, none), EPERM),
        ("socket of AF_ALG", call(41, [38, 5, 0]), EAFNOSUPPORT),
        ("socket of AF_VSOCK", call(41, [40, 1, 0]), EAFNOSUPPORT),
        ("socket of AF_UNIX", call(41, [1, 1, 0]), 0),
        ("the x32 door to getuid", call(0x4000_0066, none), ENOSYS),
        ("keyctl of i386", call_32(288, none), EPERM),
        ("an unknown number of i386", call_32(2000, none), ENOSYS),
        (
            "socket of AF_ALG of i386",
            call_32(359, [38, 5, 0]),
            EAFNOSUPPORT,
        ),
    ]
}

#[test]
fn the_default_filter_answers_as_promised() -> Result<()> {
    on_stage_of_hostrun("runc has no default filter", |stage| {
        let folder = stage.folder("probes")?;
        let name = stage
            .call(["load", "-q", &Image::new(stage.dir())?.source()])
            .run()?
            .ok()?;
        let volume = format!("{}:/probes:ro", folder.display());
        for (number, (what, content, errno)) in probes().into_iter().enumerate() {
            let probe = folder.join(number.to_string());
            program::write(&probe, 0o755, content)?;
            let inside = format!("/probes/{number}");
            let out = stage
                .image_call(["--rm", "-v", &volume, name.trim(), &inside])
                .run()?;
            assert_eq!(out.code(), errno, "{what}: {}", out.stderr());
        }
        Ok(())
    })
}
