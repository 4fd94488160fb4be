//! `hostrun ps`.

use crate::args::containers::{Format, Ps};
use crate::clock::{self, Instant};
use crate::globals::{Globals, Name};
use crate::record::{Meta, Phase, Record, Records, Status};
use crate::target::Target;
use crate::{output, report, table};
use anyhow::Result;
use hostrun_runtime::{Container, State, Status as Life};
use serde::Serialize;
use std::collections::BTreeMap;

/// One container as it is listed.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    id: String,
    name: Option<String>,
    image: String,
    command: Vec<String>,
    created: String,
    status: String,
    state: String,
    pid: Option<i32>,
    exit_code: Option<u8>,
    labels: BTreeMap<String, String>,
    #[serde(skip)]
    over: bool,
}

/// Runs the verb.
///
/// # Errors
/// When the store or the state directory cannot be read.
pub(crate) fn main(globals: &Globals, args: &Ps) -> Result<u8> {
    if let Some(name) = args.words.first() {
        let target = super::recorded(globals, name)?;
        let id = target.as_ref().map_or(name.as_str(), Target::id);
        return super::oci::processes::main(globals, args, id);
    }
    if globals.name == Name::Runc {
        return Err(report::usage("\"ps\" requires a minimum of 1 argument"));
    }
    let mut rows = rows(globals)?;
    rows.retain(|row| args.all || !row.over);
    rows.sort_unstable_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    if args.quiet {
        rows.iter()
            .try_for_each(|row| output::line(short(&row.id, args.no_trunc)))?;
    } else if args.format == Format::Json {
        output::json(&rows)?;
    } else {
        let cells: Vec<Vec<String>> = rows.iter().map(|row| row.cells(args.no_trunc)).collect();
        let header = [
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "NAME",
        ];
        output::text(&table::columns(&header, &cells))?;
    }
    Ok(0)
}

fn rows(globals: &Globals) -> Result<Vec<Row>> {
    let records = Records::of(&globals.store).all()?;
    let mut rows = Vec::new();
    for record in &records {
        // A record may vanish between the two looks, or be in the making.
        let (Ok(meta), Ok(status)) = (record.meta(), record.status()) else {
            continue;
        };
        rows.push(of_record(globals, record, meta, status));
    }
    for container in super::oci::all(globals)? {
        if records
            .iter()
            .all(|record| record.id() != container.id().as_str())
        {
            rows.extend(of_bundle(&container));
        }
    }
    Ok(rows)
}

/// How far a recorded container really is: what is on disk, checked against the runtime.
pub(super) fn truth(
    globals: &Globals,
    record: &Record,
    status: Status,
) -> Result<(Status, Option<State>)> {
    if status.phase == Phase::Exited {
        return Ok((status, None));
    }
    let state = Target::of_record(globals, record.clone())?.state()?;
    let lives = state
        .as_ref()
        .is_some_and(|state| state.status != Life::Stopped);
    let phase = match status.phase {
        Phase::Created if state.is_none() => Phase::Created,
        _ if lives => Phase::Running,
        _ => Phase::Exited,
    };
    Ok((Status { phase, ..status }, state.filter(|_| lives)))
}

fn of_record(globals: &Globals, record: &Record, meta: Meta, status: Status) -> Row {
    // One that is being made, or whose state cannot be read, hides no other: what is on record is
    // shown of it.
    let recorded = status.clone();
    let (status, state) = truth(globals, record, status).unwrap_or((recorded, None));
    let ago = |time: &Option<String>| {
        let time = time.as_deref().and_then(Instant::parse);
        time.map_or_else(String::new, |time| clock::roughly(time.until(clock::now())))
    };
    let (word, said) = match (status.phase, status.exit_code) {
        (Phase::Created, _) => ("created", "Created".to_owned()),
        (Phase::Running, _) => ("running", format!("Up {}", ago(&status.started))),
        (Phase::Exited, Some(code)) => (
            "exited",
            format!(
                "Exited ({code}) {} ago{}",
                ago(&status.finished),
                if status.oom_killed {
                    ", out of memory"
                } else {
                    ""
                }
            ),
        ),
        (Phase::Exited, None) => ("exited", "Exited (unseen)".to_owned()),
    };
    Row {
        id: record.id().to_owned(),
        name: meta.name,
        image: meta.image,
        command: meta.command,
        created: meta.created,
        status: said,
        state: word.to_owned(),
        pid: state.map(|state| state.pid),
        exit_code: status.exit_code,
        labels: meta.labels,
        over: status.phase == Phase::Exited,
    }
}

fn of_bundle(container: &Container) -> Option<Row> {
    // Deleted between the two looks.
    let state = container.state().ok()?;
    let command = container
        .spec()
        .ok()
        .and_then(|spec| spec.process().clone())
        .and_then(|p| p.args().clone());
    let over = state.status == Life::Stopped;
    Some(Row {
        id: state.id,
        name: None,
        image: format!("bundle:{}", state.bundle.display()),
        command: command.unwrap_or_default(),
        status: state.status.to_string(),
        state: state.status.to_string(),
        pid: (!over).then_some(state.pid),
        created: state.created,
        exit_code: None,
        labels: BTreeMap::new(),
        over,
    })
}

impl Row {
    fn cells(&self, whole: bool) -> Vec<String> {
        let clean = report::one_line(&self.command.join(" "));
        let command = if whole {
            clean
        } else {
            table::short(&clean, 24)
        };
        let created = Instant::parse(&self.created).map_or_else(String::new, |at| {
            format!("{} ago", clock::roughly(at.until(clock::now())))
        });
        let id = short(&self.id, whole).to_owned();
        let name = self.name.clone().unwrap_or_else(|| id.clone());
        vec![
            id,
            report::one_line(&self.image),
            command,
            created,
            self.status.clone(),
            name,
        ]
    }
}

/// Generated ids are cut, ids that a person chose are not.
pub(super) fn short(id: &str, whole: bool) -> &str {
    let generated = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if generated && !whole {
        id.get(..crate::record::SHORT).unwrap_or(id)
    } else {
        id
    }
}
