//! redis-server and redis-benchmark in one container, over loopback.

use super::tools::{Server, run};
use super::{Cx, Found, Unit, Workload};
use anyhow::{Context, Result, bail};

pub const ALL: &[Workload] = &[
    Workload {
        name: "redis",
        what: "redis-benchmark: SET and GET over 20 connections, one request at a time",
        unit: Unit::PerSecond,
        needs: &["redis-server", "redis-benchmark", "redis-cli"],
        run: |cx| bench(cx, 20_000, 1),
    },
    Workload {
        name: "redis-pipelined",
        what: "redis-benchmark: SET and GET over 20 connections, 16 requests in flight on each",
        unit: Unit::PerSecond,
        needs: &["redis-server", "redis-benchmark", "redis-cli"],
        run: |cx| bench(cx, 150_000, 16),
    },
];

const PORT: &str = "6379";

fn bench(cx: &Cx, full: usize, pipeline: usize) -> Result<Found> {
    // A multiple of the requests in flight: redis-benchmark rounds up otherwise.
    let step = 20 * pipeline;
    let requests = (cx.scale(full) / step).max(1) * step;
    let options = [
        "--port",
        PORT,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    let mut server = Server::start("redis-server", &options)?;
    server.wait_for_port(6379)?;
    let (count, depth) = (requests.to_string(), pipeline.to_string());
    let (took, table) = cx.timed(|| {
        run(
            "redis-benchmark",
            &[
                "-h",
                "127.0.0.1",
                "-p",
                PORT,
                "-t",
                "set,get",
                "-n",
                &count,
                "-c",
                "20",
                "-P",
                &depth,
                "-d",
                "16",
                "--csv",
            ],
        )
    })?;
    server.check_alive()?;
    if !table.contains("\"SET\"") || !table.contains("\"GET\"") {
        bail!("redis-benchmark said {table:?}");
    }
    let stats = run("redis-cli", &["-p", PORT, "INFO", "commandstats"])?;
    for command in ["set", "get"] {
        let served = calls(&stats, command)?;
        if served != requests {
            bail!("the server counted {served} {command} commands, not {requests}");
        }
    }
    let value = run("redis-cli", &["-p", PORT, "GET", "key:__rand_int__"])?;
    if value.trim_end().len() != 16 {
        bail!("the key holds {value:?}, not 16 bytes");
    }
    Found::rate(2 * requests as u64, took)
}

/// How often a command was called: `cmdstat_get:calls=N,usec=…`.
fn calls(stats: &str, command: &str) -> Result<usize> {
    let start = format!("cmdstat_{command}:calls=");
    let line = stats
        .lines()
        .find_map(|l| l.strip_prefix(&start))
        .with_context(|| format!("no {start} in {stats:?}"))?;
    Ok(line.split(',').next().unwrap_or("").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        let stats = "# Commandstats\r\ncmdstat_get:calls=20,usec=1,rejected_calls=0\r\ncmdstat_set:calls=7,usec=9\r\n";
        assert_eq!(calls(stats, "get").unwrap(), 20);
        assert_eq!(calls(stats, "set").unwrap(), 7);
        assert!(calls(stats, "del").is_err());
    }
}
