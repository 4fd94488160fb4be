//! What a process that waits for its start has of its maker's memory and never looks at again.

use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::sys;
use rustix::fs::{Mode, OFlags, openat};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;

/// What the C library has for a thread is near its `errno`, on this side and that.
const THREAD: usize = 64 << 10;

/// A multiple of every page size.
const LARGE_PAGE: usize = 64 << 10;

/// Heaps and what else is anonymous, but for the stack we are on, what the C library has for this thread,
/// and `page`. Other threads may change the map as soon as it is read: what has come since then is of no
/// use to the process either.
///
/// # Errors
/// What the kernel answers.
pub(super) fn find(host: &Host, page: &Range<usize>) -> Result<Vec<Range<usize>>> {
    const NAME: &str = "self/maps";
    let failed =
        |error: std::io::Error| Error::new(ErrorKind::System, "read", NAME).caused_by(error);
    let file = openat(
        host.proc()?,
        NAME,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mut text = String::new();
    let mut file = File::from(file.map_err(|errno| failed(errno.into()))?);
    file.read_to_string(&mut text).map_err(failed)?;
    let here = 0_u8;
    let errno = sys::errno_address();
    let near = errno.saturating_sub(THREAD)..errno.saturating_add(THREAD);
    Ok(parts(
        &text,
        (&raw const here).addr(),
        &[near, page.clone()],
    ))
}

/// The same of a map of memory, `proc_pid_maps(5)`.
fn parts(map: &str, stack: usize, kept: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut end_of_file = 0;
    for line in map.lines() {
        let Some((range, named, private)) = read(line) else {
            continue;
        };
        if named {
            end_of_file = range.end;
            continue;
        }
        // What follows a file without a gap is that program's, or library's, variables.
        let variables = range.start == end_of_file;
        if private && !variables && !range.contains(&stack) {
            parts.push(range);
        }
    }
    kept.iter().fold(parts, without)
}

/// Where it is, whether it has a name (a file, the stack, the kernel's own), whether it is ours alone and
/// more than a gap that nobody may touch.
fn read(line: &str) -> Option<(Range<usize>, bool, bool)> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let access = words.next()?;
    let private = access.ends_with('p') && access.starts_with('r');
    let name = words.nth(3).unwrap_or_default();
    // Some allocators give theirs names.
    let anonymous = matches!(name, "" | "[heap]") || name.starts_with("[anon:");
    Some((number(from)?..number(to)?, !anonymous, private))
}

/// Takes a range out of others, in whole pages.
fn without(parts: Vec<Range<usize>>, kept: &Range<usize>) -> Vec<Range<usize>> {
    let from = kept.start / LARGE_PAGE * LARGE_PAGE;
    let to = kept.end.div_ceil(LARGE_PAGE).saturating_mul(LARGE_PAGE);
    let around =
        |part: Range<usize>| [part.start..part.end.min(from), part.start.max(to)..part.end];
    let parts = parts.into_iter().flat_map(around);
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
55557b998000-55557b999000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
7f0000400000-7f0900000000 ---p 00000000 00:00 0
7f0910000000-7f0910100000 rw-s 00000000 00:01 7                          /dev/zero (deleted)
7f0914000000-7f0914100000 rw-s 00000000 00:00 0
7f09150cf000-7f091597f000 r-xp 000cf000 fe:00 10368600                   /bin/a program
7f0915bcf000-7f0915c4d000 rw-p 00bce000 fe:00 10368600                   /bin/a program
7f0915c4d000-7f0915c4f000 rw-p 00000000 00:00 0
7f0915c65000-7f0915c83000 rw-p 00000000 00:00 0
7ffd26e93000-7ffd26ebb000 rw-p 00000000 00:00 0                          [stack]
7ffd26fd3000-7ffd26fd5000 r-xp 00000000 00:00 0                          [vdso]
";

    #[test]
    fn what_is_given_back_is_anonymous_and_private_and_no_program_s_variables() {
        let found = parts(MAP, 0x7ffd_26e9_4000, &[]);
        let expected = [
            0x5555_7b99_8000..0x5555_7b99_9000,
            0x7f00_0000_0000..0x7f00_0040_0000,
            0x7f09_15c6_5000..0x7f09_15c8_3000,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_stack_of_a_thread_is_kept() {
        let found = parts(MAP, 0x7f00_003f_ff00, &[]);
        assert!(!found.iter().any(|part| part.contains(&0x7f00_003f_ff00)));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_is_kept_is_cut_out_in_whole_pages() {
        let found = parts(MAP, 0, &[0x7f00_0010_1234..0x7f00_0012_0001, 0..1]);
        assert_eq!(found[1], 0x7f00_0000_0000..0x7f00_0010_0000);
        assert_eq!(found[2], 0x7f00_0013_0000..0x7f00_0040_0000);
    }

    #[test]
    fn of_this_very_process_there_is_something_to_give_back_and_nothing_that_is_needed() {
        let page = vec![1_u8; 1 << 20];
        let range = page.as_ptr().addr()..page.as_ptr().addr() + page.len();
        let here = 0_u8;
        let found = find(&Host::default(), &range).unwrap();
        assert!(!found.is_empty());
        for needed in [
            range.start,
            range.end - 1,
            (&raw const here).addr(),
            sys::errno_address(),
        ] {
            assert!(!found.iter().any(|part| part.contains(&needed)));
        }
    }
}
