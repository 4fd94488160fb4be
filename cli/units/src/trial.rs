//! A version of the system on trial: booted with a counter that the boot loader has taken one from, and not blessed so
//! far (systemd's "Automatic Boot Assessment").

use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// Tells whether this boot counts, by reading the boot loader's own entry: good, bad, indeterminate or clean.
const BLESS: [&str; 2] = [
    "/usr/lib/systemd/systemd-bless-boot",
    "/lib/systemd/systemd-bless-boot",
];

/// Identifiers of all entries the boot loader has seen (systemd's "Boot Loader Interface").
const ENTRIES: &str =
    "/sys/firmware/efi/efivars/LoaderEntries-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Reboots where this version is on trial and there is another one to go to; says what it does.
///
/// # Errors
/// When the system cannot be asked.
pub fn give_up(say: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<bool> {
    if !is_on_trial()? {
        say("this version is not on trial: it stays, healthy or not")?;
        return Ok(true);
    }
    // Two at least, or the loader would take this one again, and again.
    if others(&fs::read(ENTRIES).unwrap_or_default()) == 0 {
        say("this version is on trial, but there is no other: it stays")?;
        return Ok(true);
    }
    say(
        "this version is on trial, and its containers are not healthy: going back to the one before",
    )?;
    let status = Command::new("systemctl")
        .args(["--no-block", "reboot"])
        .status()?;
    Ok(status.success())
}

fn is_on_trial() -> io::Result<bool> {
    let there = |path: &&&str| fs::metadata(path).is_ok();
    let Some(program) = BLESS.iter().find(there) else {
        return Ok(false);
    };
    let output = Command::new(program)
        .arg("status")
        .stdin(Stdio::null())
        .output()?;
    Ok(is_undecided(output.stdout.trim_ascii()))
}

/// What systemd-bless-boot says of a boot that counts; newer ones say so of the last try by a word of its own.
fn is_undecided(status: &[u8]) -> bool {
    matches!(status, b"indeterminate" | b"dirty")
}

/// Has it no tries left, by its name, `NAME+LEFT[-DONE].conf`? Back to such a one would be back and forth for ever.
fn is_used_up(entry: &str) -> bool {
    let stem = entry.rsplit_once('.').map_or(entry, |(stem, _)| stem);
    let counter = stem.rsplit_once('+').map_or("", |(_, counter)| counter);
    let left = counter.split('-').next().unwrap_or_default();
    !left.is_empty() && left.bytes().all(|digit| digit == b'0')
}

/// How many entries with tries left there are beside one. The variable has four bytes of attributes, then texts of UTF-16, each with a
/// zero behind it; what the loader itself makes up (`auto-…`) is no version.
fn others(variable: &[u8]) -> usize {
    let pairs = variable.get(4..).unwrap_or_default().chunks_exact(2);
    let units: Vec<u16> = pairs
        .filter_map(|pair| Some(u16::from_le_bytes([*pair.first()?, *pair.get(1)?])))
        .collect();
    let entries = units.split(|unit| *unit == 0).map(String::from_utf16_lossy);
    let versions = entries
        .filter(|entry| !entry.is_empty() && !entry.starts_with("auto-") && !is_used_up(entry));
    versions.count().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(entries: &[&str]) -> Vec<u8> {
        let text = entries
            .iter()
            .flat_map(|entry| entry.encode_utf16().chain([0]));
        [6, 0, 0, 0]
            .into_iter()
            .chain(text.flat_map(u16::to_le_bytes))
            .collect()
    }

    #[test]
    fn only_versions_are_gone_back_to() {
        assert_eq!(
            others(&variable(&[
                "b.conf",
                "a.conf",
                "auto-reboot-to-firmware-setup"
            ])),
            1
        );
        assert_eq!(others(&variable(&["b.conf", "auto-efi-shell"])), 0);
        // one that has never been good, and a second: nowhere to go
        assert_eq!(others(&variable(&["b+0-3.conf", "a+0-3.conf"])), 0);
        assert_eq!(others(&variable(&["b+1-2.conf", "a+0.conf"])), 0);
        assert_eq!(
            others(&variable(&["b+1-2.conf", "a.conf", "c+2-1.conf"])),
            2
        );
        assert_eq!(others(&variable(&["b+10.conf", "a+20-1.efi"])), 1);
        for odd in [&[][..], &[1, 2, 3], &variable(&["a"])[..5]] {
            assert_eq!(others(odd), 0);
        }
    }

    #[test]
    fn only_a_boot_that_counts_is_on_trial() {
        for status in ["indeterminate", "dirty"] {
            assert!(is_undecided(status.as_bytes()), "{status}");
        }
        for status in ["good", "bad", "clean", ""] {
            assert!(!is_undecided(status.as_bytes()), "{status}");
        }
    }
}
