//! Messages: to `--log FILE` in runc's text or JSON form, else to stderr.

use crate::args::{Global, LogFormat};
use crate::failure::{Context, Result};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Installs the process's subscriber. Returns the log file, if there is one.
pub fn init(options: &Global) -> Result<Option<Arc<File>>> {
    let level = if options.debug {
        LevelFilter::DEBUG
    } else {
        LevelFilter::WARN
    };
    let format = Format(options.log_format);
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .event_format(format);
    let Some(path) = &options.log else {
        // Warnings would mix with the program's own output: only on request.
        let level = if options.debug {
            LevelFilter::DEBUG
        } else {
            LevelFilter::OFF
        };
        builder
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .init();
        return Ok(None);
    };
    let file = Arc::new(append(path)?);
    builder.with_writer(Arc::clone(&file)).init();
    Ok(Some(file))
}

/// Opens a file to append to; makes it if needed.
pub fn append(path: &std::path::Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .context(|| format!("open {}", path.display()))
}

/// Where strace lines go: the file named for them, the log file, or stderr.
pub fn strace_output(options: &Global, log: Option<&Arc<File>>) -> Result<Option<OwnedFd>> {
    if let Some(path) = &options.strace_file {
        return append(path).map(|f| Some(f.into()));
    }
    if !options.strace {
        return Ok(None);
    }
    let fd = match log {
        Some(log) => std::os::fd::AsFd::as_fd(log).try_clone_to_owned(),
        None => std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned(),
    };
    fd.map(Some)
        .context(|| "duplicate the descriptor for --strace".into())
}

/// runc's line formats.
struct Format(LogFormat);

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        out.write_str(&line(self.0, *event.metadata().level(), &fields, now))
    }
}

/// The message and the other fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.rest.push((field.name(), format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.into();
        } else {
            self.rest.push((field.name(), value.into()));
        }
    }
}

fn line(format: LogFormat, level: Level, fields: &Fields, now: u64) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let time = rfc3339(now);
    match format {
        LogFormat::Text => {
            // A JSON string is quoted as Go's %q quotes, for all that matters here.
            let mut line = format!(
                "time=\"{time}\" level={level} msg={}",
                quote(&fields.message)
            );
            for (name, value) in &fields.rest {
                let _ = write!(line, " {name}={}", quote(value));
            }
            line + "\n"
        }
        LogFormat::Json => {
            let mut object = serde_json::Map::new();
            for (name, value) in &fields.rest {
                object.insert((*name).into(), value.clone().into());
            }
            object.insert("level".into(), level.into());
            object.insert("msg".into(), fields.message.clone().into());
            object.insert("time".into(), time.into());
            serde_json::Value::Object(object).to_string() + "\n"
        }
    }
}

/// A line of runc's text form, for errors on stderr.
pub fn error_line(message: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    line(
        LogFormat::Text,
        Level::ERROR,
        &Fields {
            message: message.into(),
            rest: Vec::new(),
        },
        now,
    )
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Seconds since 1970 in UTC as RFC 3339 writes them.
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in eras of 400 years: a year that starts in March has its leap day last.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn lines_have_the_shape_of_runcs() {
        let fields = Fields {
            message: "no \"such\"\nthing".into(),
            rest: vec![("id", "x".into())],
        };
        assert_eq!(
            line(LogFormat::Json, Level::ERROR, &fields, 0),
            "{\"id\":\"x\",\"level\":\"error\",\"msg\":\"no \\\"such\\\"\\nthing\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
        assert_eq!(
            line(LogFormat::Text, Level::WARN, &fields, 0),
            "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"no \\\"such\\\"\\nthing\" id=\"x\"\n"
        );
    }
}
