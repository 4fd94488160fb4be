//! Many runs, several at a time.

use super::{Bench, EXIT};
use crate::measure::{Sample, Table, ms};
use crate::spawner::Ending;
use crate::subject::{Container, Verb};
use anyhow::Result;

const RUNS: usize = 96;
const PARALLEL: [usize; 4] = [1, 2, 4, 8];

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Table>> {
    let mut tables: Vec<Table> = PARALLEL
        .iter()
        .map(|parallel| {
            let name = format!("parallel-{parallel}");
            let title = format!("{RUNS} runs, {parallel} at a time: time of all by their number");
            bench.table(&name, &title)
        })
        .collect();
    for _ in 0..bench.extent.long_rounds {
        for (parallel, table) in PARALLEL.iter().zip(&mut tables) {
            for index in bench.random.order(bench.subjects.len()) {
                run(bench, *parallel, table, index)?;
            }
        }
    }
    Ok(tables)
}

fn run(bench: &mut Bench, parallel: usize, table: &mut Table, index: usize) -> Result<()> {
    let Some(subject) = bench.subjects.get(index) else {
        return Ok(());
    };
    let container = |number| Container { kind: EXIT, number };
    let words = |number| subject.words(&bench.place, Verb::Run, container(number));
    let jobs = (0..RUNS).map(words).collect::<Result<Vec<_>>>()?;
    let (wall, endings) = bench.spawner.run_all(&jobs, parallel)?;
    let Some(row) = table.row_mut(&subject.name) else {
        return Ok(());
    };
    let mut cpu = 0.0;
    let mut all_done = true;
    for (number, ending) in endings.iter().enumerate() {
        match ending {
            Ending::Done(cost) => cpu += ms(cost.cpu),
            other => {
                all_done = false;
                row.hangs += usize::from(*other == Ending::Hung);
                row.failures += usize::from(*other != Ending::Hung);
                row.said = Some(bench.spawner.said());
                subject.tidy(&bench.place, container(number))?;
            }
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "96")]
    let runs = RUNS as f64;
    row.samples.push(all_done.then(|| Sample {
        milliseconds: ms(wall) / runs,
        cpu_ms: Some(cpu / runs),
        peak_kib: None,
    }));
    Ok(())
}
