//! Every seed goes through its target, and through those of the others: targets and seeds stay alive
//! without a fuzzer.

use std::collections::BTreeSet;
use std::path::Path;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn every_target_has_seeds_and_lets_them_pass() {
    for (name, target) in hostrun_fuzz::TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "no seeds of {name}");
        for seed in seeds {
            target(&seed);
            // what is cut off is no worse
            target(&seed[..seed.len() / 2]);
        }
    }
}

#[test]
fn seeds_of_one_target_do_no_harm_in_another() {
    for (name, _) in hostrun_fuzz::TARGETS {
        for seed in seeds(name) {
            for (other, target) in hostrun_fuzz::TARGETS {
                if other != "layer" {
                    target(&seed);
                }
            }
        }
    }
}

#[test]
fn every_target_is_a_program_of_the_fuzzers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    let programs: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            path.file_stem().unwrap().to_string_lossy().into_owned()
        })
        .collect();
    let names = hostrun_fuzz::TARGETS.map(|(name, _)| name.to_owned());
    assert_eq!(programs, BTreeSet::from(names));
}
