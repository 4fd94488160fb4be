//! How the command is linked (docs/decisions/0008).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=discard.ld");
    println!("cargo::rerun-if-changed=hot.ld");
    // Thousands of words of the program hold addresses, which a position-independent program sets
    // right when it begins. As a bitmap their list is a hundredth as long.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // A build for debugging unwinds.
    let released = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if let (true, Ok(dir)) = (released, std::env::var("CARGO_MANIFEST_DIR")) {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{dir}/discard.ld");
        // What a start executes lies together: the kernel maps a file in pieces of 64 kB, and code that
        // is needed here and there brings all of it into memory, fault by fault.
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{dir}/hot.ld");
        // The names would be a sixth of the file. benches/layout wants them.
        println!("cargo::rerun-if-env-changed=HOSTRUN_KEEP_NAMES");
        if std::env::var_os("HOSTRUN_KEEP_NAMES").is_none() {
            println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
        }
    }
}
