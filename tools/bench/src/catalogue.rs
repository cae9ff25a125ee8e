//! Everything that can be measured, with names, units and groups.

use crate::{micro, workloads};
use serde::{Deserialize, Serialize};

/// What kind of thing an item measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// One operation, in nanoseconds.
    Micro,
    /// A real program.
    Real,
    /// Start and end of a container.
    Start,
    /// What a container costs that does nothing.
    Idle,
}

impl Group {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 4] = [Self::Micro, Self::Real, Self::Start, Self::Idle];

    /// Its name, as a pattern on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Real => "real",
            Self::Start => "start",
            Self::Idle => "idle",
        }
    }

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Micro => "Micro operations",
            Self::Real => "Real workloads",
            Self::Start => "Start-up",
            Self::Idle => "Idle container",
        }
    }
}

/// What a figure is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds for one operation.
    Nanoseconds,
    /// Seconds.
    Seconds,
    /// Operations per second: the only unit of which more is better.
    PerSecond,
    /// Bytes of memory.
    Bytes,
    /// Hundredths of one CPU.
    CpuPercent,
}

impl Unit {
    /// A figure as a cost: what is twice as dear has twice the cost.
    pub fn cost(self, value: f64) -> f64 {
        match self {
            Self::PerSecond => 1.0 / value,
            _ => value,
        }
    }

    /// A figure for people, three digits and a unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => scaled(value, 1000.0, &["ns", "µs", "ms", "s"]),
            Self::Seconds => scaled(value * 1e6, 1000.0, &["µs", "ms", "s"]),
            Self::PerSecond => scaled(value, 1000.0, &["/s", "k/s", "M/s"]),
            Self::Bytes => scaled(value / 1024.0, 1024.0, &["KiB", "MiB", "GiB"]),
            Self::CpuPercent => format!("{value:.2} %"),
        }
    }
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= 0.9995 * step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {}", units[unit])
}

/// Something to measure.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Its name.
    pub name: &'static str,
    /// What is measured.
    pub what: &'static str,
    /// Its group.
    pub group: Group,
    /// Its unit.
    pub unit: Unit,
}

impl Item {
    const fn new(name: &'static str, what: &'static str, group: Group, unit: Unit) -> Self {
        Self {
            name,
            what,
            group,
            unit,
        }
    }
}

/// The container runs `/bin/true`: from the start of the runtime to its end.
pub const START_TRUE: Item = Item::new(
    "start-true",
    "RUNTIME run of /bin/true, from the start of the command to its end",
    Group::Start,
    Unit::Seconds,
);

/// Until the container's first output.
pub const START_FIRST: Item = Item::new(
    "start-first-output",
    "RUNTIME run, from the start of the command to the first line that the program in the container writes",
    Group::Start,
    Unit::Seconds,
);

/// Memory of all processes, shared pages counted by share.
pub const IDLE_PSS: Item = Item::new(
    "idle-pss",
    "proportional set size of all processes of the runtime and the container, whose one program sleeps",
    Group::Idle,
    Unit::Bytes,
);

/// Memory of the largest process.
pub const IDLE_LARGEST: Item = Item::new(
    "idle-largest-rss",
    "resident set size of the largest of these processes",
    Group::Idle,
    Unit::Bytes,
);

/// CPU time of all processes.
pub const IDLE_CPU: Item = Item::new(
    "idle-cpu",
    "CPU time of these processes, in hundredths of one CPU",
    Group::Idle,
    Unit::CpuPercent,
);

/// Memory of each of many containers.
pub const CROWD_PSS: Item = Item::new(
    "crowd-pss",
    "proportional set size of all processes of many idle containers side by side, by their number",
    Group::Idle,
    Unit::Bytes,
);

/// CPU time of many containers.
pub const CROWD_CPU: Item = Item::new(
    "crowd-cpu",
    "CPU time of all of them together, in hundredths of one CPU",
    Group::Idle,
    Unit::CpuPercent,
);

/// All items, in the order of reports.
pub fn all() -> Vec<Item> {
    let micro = micro::all();
    let micro = micro.map(|op| Item::new(op.name, op.what, Group::Micro, Unit::Nanoseconds));
    let real = workloads::all().map(|w| Item {
        name: w.name,
        what: w.what,
        group: Group::Real,
        unit: match w.unit {
            workloads::Unit::Seconds => Unit::Seconds,
            workloads::Unit::PerSecond => Unit::PerSecond,
        },
    });
    let host = [
        START_TRUE,
        START_FIRST,
        IDLE_PSS,
        IDLE_LARGEST,
        IDLE_CPU,
        CROWD_PSS,
        CROWD_CPU,
    ];
    micro.chain(real).chain(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|i| i.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        // A group's name must not be an item's: patterns name both.
        assert!(Group::ALL.iter().all(|g| !names.contains(&g.name())));
    }

    #[test]
    fn the_documentation_lists_every_item() {
        let page = include_str!("../../../docs/BENCHMARKS.md");
        for item in all() {
            let row = format!("| `{}` | {} |", item.name, item.what);
            assert!(page.contains(&row), "docs/BENCHMARKS.md lacks {row}");
        }
    }

    #[test]
    fn figures_for_people() {
        for (unit, value, text) in [
            (Unit::Nanoseconds, 184.2, "184 ns"),
            (Unit::Nanoseconds, 18_420.0, "18.4 µs"),
            (Unit::Nanoseconds, 999.9, "1.00 µs"),
            (Unit::Seconds, 0.0123, "12.3 ms"),
            (Unit::Seconds, 75.0, "75.0 s"),
            (Unit::PerSecond, 123_456.0, "123 k/s"),
            (Unit::Bytes, 12.0 * 1024.0 * 1024.0, "12.0 MiB"),
            (Unit::CpuPercent, 0.034, "0.03 %"),
        ] {
            assert_eq!(unit.show(value), text);
        }
    }

    #[test]
    fn more_requests_cost_less() {
        assert!(Unit::PerSecond.cost(2.0) < Unit::PerSecond.cost(1.0));
        assert!(Unit::Seconds.cost(2.0) > Unit::Seconds.cost(1.0));
    }
}
