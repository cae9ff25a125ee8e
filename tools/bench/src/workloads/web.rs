//! nginx under wrk (or ab), in one container, over loopback.

use super::tools::{Server, find, run, text};
use super::{Cx, Found, Unit, Workload};
use crate::place::SCRATCH;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub const ALL: &[Workload] = &[
    Workload {
        name: "nginx",
        what: "nginx: a file of 1 KiB to wrk over 16 connections that stay open",
        unit: Unit::PerSecond,
        needs: &["nginx"],
        run: |cx| nginx(cx, 1 << 10),
    },
    Workload {
        name: "nginx-1m",
        what: "nginx: a file of 1 MiB to wrk over 16 connections that stay open",
        unit: Unit::PerSecond,
        needs: &["nginx"],
        run: |cx| nginx(cx, 1 << 20),
    },
];

fn nginx(cx: &Cx, size: usize) -> Result<Found> {
    let body = text(11, size);
    let body = &body[..size];
    std::fs::write(format!("{SCRATCH}/page.html"), body)?;
    let conf = format!(
        "daemon off; worker_processes 1; user root; pid {SCRATCH}/nginx.pid; error_log {SCRATCH}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; sendfile on; keepalive_requests 100000000; types {{ text/html html; }}\n\
         client_body_temp_path {SCRATCH}/t1; proxy_temp_path {SCRATCH}/t2; fastcgi_temp_path {SCRATCH}/t3;\n\
         uwsgi_temp_path {SCRATCH}/t4; scgi_temp_path {SCRATCH}/t5;\n\
         server {{ listen 127.0.0.1:8080; root {SCRATCH}; }} }}\n"
    );
    std::fs::write(format!("{SCRATCH}/nginx.conf"), conf)?;
    let conf = format!("{SCRATCH}/nginx.conf");
    let mut server = Server::start("nginx", &["-e", "stderr", "-p", SCRATCH, "-c", &conf])?;
    server.wait_for_port(8080)?;
    load(cx, 8080, "/page.html", body.as_bytes(), &mut server)
}

/// Asks for a page before, under load, and after. The body must be right, and so must the bytes that the load generator counted.
pub fn load(cx: &Cx, port: u16, path: &str, body: &[u8], server: &mut Server) -> Result<Found> {
    check(port, path, body)?;
    let url = format!("http://127.0.0.1:{port}{path}");
    let seconds = if cx.quick { 1 } else { 3 };
    let (took, requests) = if find("wrk").is_some() {
        let duration = format!("-d{seconds}s");
        let (took, out) = cx.timed(|| run("wrk", &["-t1", "-c16", &duration, &url]))?;
        (took, of_wrk(&out, body.len())?)
    } else if find("ab").is_some() {
        let duration = seconds.to_string();
        let options = ["-k", "-q", "-c16", "-t", &duration, "-n", "10000000", &url];
        let (took, out) = cx.timed(|| run("ab", &options))?;
        (took, of_ab(&out)?)
    } else {
        bail!("neither wrk nor ab is there");
    };
    server.check_alive()?;
    check(port, path, body)?;
    Found::rate(requests, took)
}

/// One request of our own.
fn check(port: u16, path: &str, body: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .context("the answer has no end of headers")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    if !head.starts_with("HTTP/1.") || !head.contains(" 200 ") {
        bail!("the server said {head:?}");
    }
    if &answer[end + 4..] != body {
        bail!(
            "the page of {} bytes came back as {} others",
            body.len(),
            answer.len() - end - 4
        );
    }
    Ok(())
}

/// The requests of `  N requests in T, X read`, after the checks.
fn of_wrk(out: &str, size: usize) -> Result<u64> {
    for bad in ["Non-2xx", "Socket errors"] {
        if let Some(line) = out.lines().find(|l| l.contains(bad)) {
            bail!("wrk: {}", line.trim());
        }
    }
    let line = out
        .lines()
        .find(|l| l.contains(" requests in "))
        .with_context(|| format!("wrk said {out:?}"))?;
    let mut words = line.split_whitespace();
    let requests: u64 = words.next().context("no count")?.parse()?;
    let read = line
        .rsplit(", ")
        .next()
        .and_then(|r| r.strip_suffix(" read"))
        .and_then(bytes)
        .with_context(|| format!("wrk said {line:?}"))?;
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let least = requests as f64 * size as f64 * 0.98;
    if read < least {
        bail!("wrk read {read} bytes where {requests} answers make {least}");
    }
    Ok(requests)
}

/// wrk's `12.34MB`.
fn bytes(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "B" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * 2f64.powi(unit))
}

fn of_ab(out: &str) -> Result<u64> {
    let field = |name: &str| {
        out.lines()
            .find_map(|l| l.strip_prefix(name))
            .map(|rest| rest.split_whitespace().next().unwrap_or("").to_owned())
    };
    let failed = field("Failed requests:").with_context(|| format!("ab said {out:?}"))?;
    if failed != "0" || field("Non-2xx responses:").is_some() {
        bail!("ab counted {failed} failed requests");
    }
    Ok(field("Complete requests:").context("no count")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 1s test @ http://x/\n  1 threads and 16 connections\n  Thread Stats   Avg\n  \
                       20000 requests in 1.01s, 24.53MB read\nRequests/sec:  19802.00\n";

    #[test]
    fn wrk_is_read() {
        assert_eq!(of_wrk(WRK, 1024).unwrap(), 20_000);
        // Answers that are too short.
        assert!(of_wrk(WRK, 2048).is_err());
        assert!(of_wrk(&format!("{WRK}  Non-2xx or 3xx responses: 7\n"), 1024).is_err());
        assert!(of_wrk(&format!("{WRK}  Socket errors: connect 0, read 1\n"), 1024).is_err());
        assert!(of_wrk("", 1024).is_err());
    }

    #[test]
    fn ab_is_read() {
        let out = "Complete requests:      500\nFailed requests:        0\n";
        assert_eq!(of_ab(out).unwrap(), 500);
        assert!(of_ab("Complete requests: 500\nFailed requests: 2\n").is_err());
        assert!(of_ab(&format!("{out}Non-2xx responses: 3\n")).is_err());
    }

    #[test]
    fn sizes_of_wrk() {
        assert_eq!(bytes("512.00B"), Some(512.0));
        assert_eq!(bytes("1.50KB"), Some(1536.0));
        assert_eq!(bytes("x"), None);
    }
}
