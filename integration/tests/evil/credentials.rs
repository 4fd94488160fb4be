//! Who the payload is, and what it may do (D6, D9, D10, D11).

use std::fs;

use anyhow::Result;
use hostrun_integration::Outcome;
use hostrun_integration::field::{Attack, Field, Saw};
use serde_json::json;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "cve_2022_29162_inheritable_capabilities",
        how: "the caller's inheritable capabilities reach the payload",
        fight: |field| {
            let bundle = field.bundle()?.shell("grep CapInh /proc/self/status");
            let caller = ["setpriv", "--inh-caps", "+chown,+kill"];
            let out = field.run_call(&bundle)?.under(caller).run()?;
            none_inheritable(&out)
        },
    },
    Attack {
        name: "cve_2022_29162_inheritable_capabilities_in_exec",
        how: "the same in exec",
        fight: |field| {
            let container = field.start(&field.bundle()?.shell("sleep 60"))?;
            let words = ["exec", &container.id, "grep", "CapInh", "/proc/self/status"];
            let caller = ["setpriv", "--inh-caps", "+chown,+kill"];
            let out = field.stage().call(words).under(caller).run()?;
            container.delete()?;
            none_inheritable(&out)
        },
    },
    Attack {
        name: "cve_2023_25173_groups_of_the_caller",
        how: "the caller's supplementary groups reach the payload",
        fight: |field| {
            let bundle = field.bundle()?.shell("id -G");
            let caller = ["setpriv", "--groups", "0,4242"];
            let out = field.run_call(&bundle)?.under(caller).run()?;
            no_group(&out)
        },
    },
    Attack {
        name: "cve_2022_36109_groups_of_the_caller_in_exec",
        how: "the same in exec",
        fight: |field| {
            let container = field.start(&field.bundle()?.shell("sleep 60"))?;
            let words = ["exec", &container.id, "id", "-G"];
            let caller = ["setpriv", "--groups", "0,4242"];
            let out = field.stage().call(words).under(caller).run()?;
            container.delete()?;
            no_group(&out)
        },
    },
    Attack {
        name: "cve_2024_40635_user_that_wraps",
        how: "a user of 2^32 wraps to root",
        fight: |field| wraps(field, "4294967296"),
    },
    Attack {
        name: "cve_2026_46680_negative_user",
        how: "a negative user wraps",
        fight: |field| wraps(field, "-4294967296"),
    },
    Attack {
        name: "cve_2026_30892_exec_user_parsed_wrong",
        how: "exec as user 1 is another user",
        fight: |field| {
            exec_as(
                field,
                &[
                    ("1", "1"),
                    ("1000", "1000"),
                    ("1000:7", "1000"),
                    ("7:0", "7"),
                ],
            )
        },
    },
    Attack {
        name: "cve_2024_40635_exec_user_that_wraps",
        how: "exec as a user of 2^32 is root",
        fight: |field| {
            let none = "nobody at all";
            exec_as(
                field,
                &[
                    ("4294967296", none),
                    ("-4294967296", none),
                    ("4294967295", none),
                ],
            )
        },
    },
    Attack {
        name: "cve_2016_3697_number_that_is_a_name",
        how: "the image's passwd has a user whose name is 1000 and who is root",
        fight: |field| exec_as(field, &[("1000", "1000")]),
    },
    Attack {
        name: "cve_2021_41103_state_read_by_others",
        how: "another user of the machine reads the container's state",
        fight: |field| {
            let container = field.start(&field.bundle()?.shell("sleep 60"))?;
            let root = field.stage().root();
            let words = [
                "find".as_ref(),
                root.as_os_str(),
                "-type".as_ref(),
                "f".as_ref(),
                "-readable".as_ref(),
            ];
            let nobody = [
                "setpriv",
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
            ];
            let find = hostrun_integration::runtime::Call::new("env".as_ref(), words);
            let found = find.under(nobody).run()?.stdout();
            container.delete()?;
            Ok(Saw::through_if(!found.is_empty(), || {
                "its files are open to all".into()
            }))
        },
    },
    Attack {
        name: "cve_2020_15257_abstract_socket",
        how: "a container in the machine's network finds a socket of the runtime that has no file",
        fight: |field| {
            let other = field.start(&field.bundle()?.shell("sleep 60"))?;
            let bundle = field.bundle()?.without_namespace("network");
            let out = field.run(&bundle.shell("grep -o '@.*' /proc/net/unix; echo"))?;
            let text = out.stdout();
            other.delete()?;
            let runtime = ["hostrun", "runc", "crun", "youki", "start.sock"];
            let found = text
                .lines()
                .find(|line| runtime.iter().any(|name| line.contains(name)));
            Ok(Saw::through_if(found.is_some(), || {
                found.unwrap_or_default().to_owned()
            }))
        },
    },
];

fn none_inheritable(out: &Outcome) -> Result<Saw> {
    let text = out.ok()?;
    let none = text.trim_end().ends_with("0000000000000000");
    Ok(Saw::through_if(!none, || text))
}

fn no_group(out: &Outcome) -> Result<Saw> {
    let text = out.ok()?;
    let has = text.split_whitespace().any(|group| group == "4242");
    Ok(Saw::through_if(has, || text.trim().to_owned()))
}

fn wraps(field: &Field, number: &str) -> Result<Saw> {
    let bundle = field
        .bundle()?
        .set("/process/user/uid", json!("HERE"))
        .shell("echo started; id -u");
    let text = serde_json::to_string(bundle.config())?.replace("\"HERE\"", number);
    let dir = bundle.write_raw(&text)?.to_string_lossy().into_owned();
    let id = field.stage().id();
    let out = field.stage().call(["run", "--bundle", &dir, &id]).run()?;
    Ok(if out.stdout().is_empty() {
        Saw::Refused
    } else {
        Saw::Through(out.stdout().replace('\n', " "))
    })
}

/// Executes `id -u` as each user: another answer than the one expected is a wrong user.
fn exec_as(field: &Field, users: &[(&str, &str)]) -> Result<Saw> {
    let bundle = field.bundle()?.shell("sleep 60");
    fs::write(
        bundle.rootfs().join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0:evil:/root:/bin/sh\n4294967296:x:0:0:evil:/:/bin/sh\n",
    )?;
    let container = field.start(&bundle)?;
    let mut saw = Saw::Contained;
    for (user, wanted) in users {
        let flag = format!("--user={user}");
        let out = field.exec(&[&flag], &container, &["/bin/id", "-u"])?;
        let text = out.stdout();
        if !text.is_empty() && text.trim() != *wanted {
            saw = Saw::Through(format!("{user} is user {}", text.trim()));
        }
    }
    container.delete()?;
    Ok(saw)
}
