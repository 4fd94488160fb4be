//! Programs of a few bytes, written here: no libc, no start-up code, nothing to subtract.

/// `exit_group(2)` on x86-64.
const EXIT_GROUP: u32 = 231;
const LOAD_ADDRESS: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// A program whose only system call is `exit_group(code)`.
pub fn exit(code: u8) -> Vec<u8> {
    program(&exit_code(u32::from(code)))
}

/// A program that writes `CLOCK_MONOTONIC` in nanoseconds to its standard output, as eight bytes,
/// and exits with 0.
pub fn clock() -> Vec<u8> {
    const CLOCK_GETTIME: u32 = 228;
    const CLOCK_MONOTONIC: u32 = 1;
    const WRITE: u32 = 1;
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    const RSI_IS_RSP: [u8; 3] = [0x48, 0x89, 0xe6];
    let mut code = vec![0x48, 0x83, 0xec, 0x20]; // sub rsp, 32
    code.extend(load_registers(CLOCK_GETTIME, [CLOCK_MONOTONIC, 0, 0]));
    code.extend(RSI_IS_RSP);
    code.extend(SYSCALL);
    code.extend([0x48, 0x8b, 0x04, 0x24]); // mov rax, [rsp]
    code.extend([0x48, 0x69, 0xc0]); // imul rax, rax, 1000000000
    code.extend(1_000_000_000_u32.to_le_bytes());
    code.extend([0x48, 0x03, 0x44, 0x24, 0x08]); // add rax, [rsp + 8]
    code.extend([0x48, 0x89, 0x04, 0x24]); // mov [rsp], rax
    code.extend(load_registers(WRITE, [1, 0, 8]));
    code.extend(RSI_IS_RSP);
    code.extend(SYSCALL);
    code.extend(exit_code(0));
    program(&code)
}

/// A program that makes one system call with up to three arguments and exits with its errno, 0 if
/// it succeeded.
pub fn system_call(number: u32, args: [u32; 3]) -> Vec<u8> {
    let mut code = load_registers(number, args);
    code.extend([0x0f, 0x05]); // syscall
    code.extend(exit_with_errno());
    program(&code)
}

/// The same through the 32-bit door, where the numbers are those of i386.
pub fn system_call_32(number: u32, args: [u32; 3]) -> Vec<u8> {
    let [first, second, third] = args;
    let mut code = Vec::new();
    for (register, value) in [(0xb8, number), (0xbb, first), (0xb9, second), (0xba, third)] {
        code.push(register); // mov eax, ebx, ecx, edx
        code.extend(value.to_le_bytes());
    }
    code.extend([0xcd, 0x80]); // int 0x80
    code.extend(exit_with_errno());
    program(&code)
}

/// A program for another processor (`machine` as in elf.h), which no kernel here can run.
pub fn foreign(machine: u16) -> Vec<u8> {
    let mut file = exit(0);
    file.splice(18..20, machine.to_le_bytes());
    file
}

fn exit_code(code: u32) -> Vec<u8> {
    let mut bytes = load_registers(EXIT_GROUP, [code, 0, 0]);
    bytes.extend([0x0f, 0x05]);
    bytes
}

fn load_registers(number: u32, [first, second, third]: [u32; 3]) -> Vec<u8> {
    let mut code = Vec::new();
    for (register, value) in [(0xb8, number), (0xbf, first), (0xbe, second), (0xba, third)] {
        code.push(register); // mov eax, edi, esi, edx
        code.extend(value.to_le_bytes());
    }
    code
}

/// `exit_group(eax < 0 ? -eax : 0)`
fn exit_with_errno() -> Vec<u8> {
    let mut code = vec![
        0x31, 0xff, // xor edi, edi
        0x85, 0xc0, // test eax, eax
        0x79, 0x04, // jns over the next two
        0x89, 0xc7, // mov edi, eax
        0xf7, 0xdf, // neg edi
        0xb8, // mov eax, EXIT_GROUP
    ];
    code.extend(EXIT_GROUP.to_le_bytes());
    code.extend([0x0f, 0x05]);
    code
}

/// An ELF file with one segment, readable and executable, that starts at its first instruction.
fn program(code: &[u8]) -> Vec<u8> {
    let size = HEADERS + code.len() as u64;
    let mut file = Vec::new();
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes()); // executable, x86-64
    }
    file.extend(1_u32.to_le_bytes());
    for word in [LOAD_ADDRESS + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes()); // entry, program headers, no sections
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for word in [1_u32, 5] {
        file.extend(word.to_le_bytes()); // PT_LOAD, readable and executable
    }
    for word in [0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_size_the_entry_point_assumes() {
        assert_eq!(program(&[]).len() as u64, HEADERS);
        assert_eq!(foreign(183)[18], 183);
    }
}
