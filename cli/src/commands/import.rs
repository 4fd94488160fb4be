//! `hostrun import`.

use super::load;
use crate::args::images::Import;
use crate::clock;
use crate::globals::Globals;
use crate::{output, report};
use anyhow::{Context, Result};
use hostrun_image_store::oci_spec::image::ImageConfiguration;
use hostrun_image_store::{Platform, Reference};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::path::Path;

/// Runs the verb.
///
/// # Errors
/// When the tar is none, or an instruction makes no sense.
pub(crate) fn main(globals: &Globals, args: &Import) -> Result<u8> {
    let platform = match &args.platform {
        Some(text) => text.parse::<Platform>()?,
        None => Platform::host(),
    };
    let config = configuration(args, &platform)?;
    let names: Vec<Reference> = args
        .name
        .iter()
        .map(|name| Reference::parse(name))
        .collect::<Result<_, _>>()?;
    let file = if args.file == Path::new("-") {
        load::standard_input()?
    } else {
        let shown = args.file.display();
        File::open(&args.file).with_context(|| format!("cannot open '{shown}'"))?
    };
    let options = load::options(Some(platform), true).with_limits(load::limits(&args.limits));
    let image = globals
        .open_store()?
        .import(file, config, &names, &options)?;
    output::line(&image.id().to_string())?;
    Ok(0)
}

fn configuration(args: &Import, platform: &Platform) -> Result<ImageConfiguration> {
    let mut config = Map::new();
    for instruction in &args.change {
        change(&mut config, instruction).map_err(report::usage)?;
    }
    let platform = platform.to_string();
    let mut parts = platform.split('/');
    let (os, architecture) = (parts.next(), parts.next());
    let created = clock::now().to_rfc3339_seconds();
    let message = args.message.clone();
    let comment = message.unwrap_or_else(|| format!("imported from {}", args.file.display()));
    let whole = json!({
        "created": created,
        "os": os,
        "architecture": architecture,
        "variant": parts.next(),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [{"created": created, "comment": comment}],
    });
    serde_json::from_value(whole).context("cannot write the image's configuration")
}

/// One instruction of a Dockerfile, of those that change only the configuration.
fn change(config: &mut Map<String, Value>, instruction: &str) -> Result<(), String> {
    let refuse = || format!("'{instruction}' is not an instruction that can be given here");
    let (word, rest) = instruction.trim().split_once(' ').ok_or_else(refuse)?;
    let rest = rest.trim();
    match word.to_ascii_uppercase().as_str() {
        "CMD" => put(config, "Cmd", command(rest)),
        "ENTRYPOINT" => put(config, "Entrypoint", command(rest)),
        "USER" => put(config, "User", json!(rest)),
        "WORKDIR" => put(config, "WorkingDir", json!(rest)),
        "STOPSIGNAL" => put(config, "StopSignal", json!(rest)),
        "ENV" => {
            let (key, value) = pair(rest).ok_or_else(refuse)?;
            let list = config.entry("Env").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(json!(format!("{key}={value}")));
            }
        }
        "LABEL" => {
            let (key, value) = pair(rest).ok_or_else(refuse)?;
            insert(config, "Labels", key, json!(value));
        }
        "EXPOSE" => {
            let port = if rest.contains('/') {
                rest.to_owned()
            } else {
                format!("{rest}/tcp")
            };
            insert(config, "ExposedPorts", &port, json!({}));
        }
        "VOLUME" => insert(config, "Volumes", rest, json!({})),
        _ => return Err(refuse()),
    }
    Ok(())
}

fn put(config: &mut Map<String, Value>, key: &str, value: Value) {
    config.insert(key.to_owned(), value);
}

fn insert(config: &mut Map<String, Value>, part: &str, key: &str, value: Value) {
    let map = config.entry(part).or_insert_with(|| json!({}));
    if let Some(map) = map.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

/// `["a","b"]` as it is; other words are the shell's.
fn command(text: &str) -> Value {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => json!(words),
        Err(_no_list) => json!(["/bin/sh", "-c", text]),
    }
}

/// `KEY=VALUE` or `KEY VALUE`, the value perhaps in quotes.
fn pair(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(['=', ' '])?;
    let value = value.trim();
    let bare = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    (!key.is_empty()).then(|| (key, bare.unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_configuration() {
        let mut config = Map::new();
        for instruction in [
            r#"CMD ["/bin/sh","-l"]"#,
            "entrypoint echo $HOME",
            "ENV A=1 2",
            "ENV B \"x y\"",
            "LABEL who=me",
            "EXPOSE 80",
            "VOLUME /data",
            "USER 1000:1000",
        ] {
            change(&mut config, instruction).expect(instruction);
        }
        assert_eq!(
            Value::Object(config),
            json!({
                "Cmd": ["/bin/sh", "-l"],
                "Entrypoint": ["/bin/sh", "-c", "echo $HOME"],
                "Env": ["A=1 2", "B=x y"],
                "Labels": {"who": "me"},
                "ExposedPorts": {"80/tcp": {}},
                "Volumes": {"/data": {}},
                "User": "1000:1000",
            })
        );
        for wrong in ["", "CMD", "RUN true", "ENV x", "COPY a b"] {
            assert!(change(&mut Map::new(), wrong).is_err(), "{wrong}");
        }
    }
}
