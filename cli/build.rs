//! How the command is linked (docs/decisions/0008).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Thousands of words of the program hold addresses, which a position-independent program sets
    // right when it begins. As a bitmap their list takes 3 kB of the file and not 280.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
