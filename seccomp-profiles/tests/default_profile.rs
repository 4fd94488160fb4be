//! The default profile decides every call as intended, on every interface.

mod machine;

use hostrun_seccomp_profiles::{Abi, DEFAULT_CAPABILITIES, compile, compile_for, default_profile};
use machine::{ALLOW, EAFNOSUPPORT, ENOSYS, EPERM, KILL, decide, run, verify};

#[test]
fn smoke() {
    let profile = default_profile(&DEFAULT_CAPABILITIES);
    let filter = compile(&profile).unwrap();
    verify(filter.program());
    println!("{} instructions", filter.program().len());
    assert!(matches!(
        filter.clone().into_program(),
        std::borrow::Cow::Borrowed(_)
    ));
    let again = compile_for(&profile, Abi::X86_64).unwrap();
    assert_eq!(
        machine::disassemble(again.program()),
        machine::disassemble(filter.program())
    );
    for (abi, number) in [(Abi::X86_64, 0), (Abi::X86, 3), (Abi::X32, 0x4000_0000)] {
        let (action, steps) = run(filter.program(), &machine::Call::new(abi, number, &[]));
        println!("{abi:?} {steps}");
        assert_eq!(action, ALLOW);
    }
    println!("{:?}", decide(&filter, Abi::Arm, 0, &[]) == KILL);
    println!(
        "{:?}",
        (0..600)
            .map(|n| run(filter.program(), &machine::Call::new(Abi::X86_64, n, &[])).1)
            .max()
    );
    for f in 0..50 {
        println!("{f} {:x}", decide(&filter, Abi::X86_64, 41, &[f]));
    }
    assert_eq!(decide(&filter, Abi::X86_64, 41, &[38]), EAFNOSUPPORT);
    assert_eq!(decide(&filter, Abi::X86_64, 435, &[38]), ENOSYS);
    assert_eq!(decide(&filter, Abi::X86_64, 467, &[38]), ENOSYS);
    assert_eq!(decide(&filter, Abi::X86, 102, &[1]), EPERM);
    println!("{}", machine::disassemble(filter.program()));
}
