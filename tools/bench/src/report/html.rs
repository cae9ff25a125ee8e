//! A page that needs nothing else: styles and plots are inside.

use super::svg::{self, escape};
use super::{date, ratio, text};
use crate::catalogue::Group;
use crate::results::{Measured, NATIVE, Outcome, Results};
use std::fmt::Write;

const STYLE: &str = r"
:root { --fg:#1d2330; --soft:#5d6675; --bg:#fff; --line:#e3e6eb; --one:#8a93a3; --bad:#c62828;
  --c0:#1a5fd0; --c1:#e07b00; --c2:#2a9d5c; --c3:#9b51c9; --c4:#b58900; --c5:#6b7280; --base:#9aa3b2; }
@media (prefers-color-scheme: dark) { :root { --fg:#e6e9ef; --soft:#9aa3b2; --bg:#14171d; --line:#2a303a; --one:#7b8494;
  --bad:#ff6b6b; --c0:#6ea8ff; --c1:#ffa94d; --c2:#5fd394; --c3:#c792ea; --c4:#e6c75c; --c5:#9aa3b2; --base:#6b7280; } }
* { box-sizing: border-box } body { font:15px/1.5 system-ui,sans-serif; color:var(--fg); background:var(--bg); max-width:1080px;
  margin:2rem auto; padding:0 1rem } h1 { font-size:1.5rem; margin:0 0 .3rem } h2 { font-size:1.15rem; margin:2.4rem 0 .6rem }
p, li { color:var(--soft) } code { font-size:.9em; color:var(--fg); overflow-wrap:anywhere } svg { width:100%; height:auto; display:block }
.tiles { display:flex; flex-wrap:wrap; gap:.8rem; margin:1.2rem 0 } .tile { border:1px solid var(--line); border-radius:8px; padding:.7rem 1rem;
  min-width:11rem } .tile b { display:block; font-size:1.6rem; line-height:1.2 } .tile span { color:var(--soft); font-size:.85rem }
.noise { border-left:4px solid var(--bad); padding:.4rem .8rem; color:var(--fg) } .legend span { display:inline-flex; align-items:center;
  gap:.4em; margin-right:1.2em; color:var(--fg) } .legend i { width:.8em; height:.8em; border-radius:50%; display:inline-block }
text { font:12px system-ui,sans-serif; fill:var(--fg) } .tick { text-anchor:middle; fill:var(--soft); font-size:11px } .name { text-anchor:end }
.value { fill:var(--soft) } .grid { stroke:var(--line) } .one { stroke:var(--one); stroke-width:1.5; stroke-dasharray:4 3 }
.range { stroke-width:2; opacity:.55 } .failed { font-size:14px; font-weight:700 } text.base { fill:var(--base) } rect.base { fill:var(--base) }
.c0 circle, rect.c0, text.c0 { fill:var(--c0) } .c0 .range { stroke:var(--c0) } .c1 circle, rect.c1, text.c1 { fill:var(--c1) } .c1 .range { stroke:var(--c1) }
.c2 circle, rect.c2, text.c2 { fill:var(--c2) } .c2 .range { stroke:var(--c2) } .c3 circle, rect.c3, text.c3 { fill:var(--c3) } .c3 .range { stroke:var(--c3) }
.c4 circle, rect.c4, text.c4 { fill:var(--c4) } .c4 .range { stroke:var(--c4) } .c5 circle, rect.c5, text.c5 { fill:var(--c5) } .c5 .range { stroke:var(--c5) }
.scroll { overflow-x:auto } table { border-collapse:collapse; width:100%; font-size:.86rem } th, td { padding:.25rem .6rem; text-align:right;
  border-bottom:1px solid var(--line); white-space:nowrap } th:first-child, td:first-child { text-align:left } th { font-weight:600 }
td small { color:var(--soft) } .bad { color:var(--bad); font-weight:600 } details { margin:.6rem 0 } summary { cursor:pointer; color:var(--soft) }
";

/// The page.
pub fn write(results: &Results) -> String {
    let mut out =
        String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let title = format!("{} compared", escape(&results.subject));
    let _ = write!(
        out,
        "<title>{title}</title>\n<style>{STYLE}</style></head><body>\n"
    );
    let s = &results.setting;
    let _ = writeln!(
        out,
        "<h1>{title}</h1>\n<p>{}, Linux {}, {} CPUs ({}), {} rounds{}.</p>",
        date(s.when),
        escape(&s.kernel),
        s.cpus,
        escape(&s.cpu),
        s.rounds,
        if s.quick { ", quick" } else { "" }
    );
    if let Some(warning) = text::noise(results) {
        let _ = writeln!(out, "<p class=\"noise\">{warning}</p>");
    }
    tiles(results, &mut out);
    for group in [Group::Micro, Group::Real] {
        let items: Vec<_> = results.group(group).collect();
        if items.is_empty() {
            continue;
        }
        let _ = writeln!(
            out,
            "<h2>{}</h2>\n<p>Cost where {}’s is 1, on a logarithmic axis: left is cheaper. A dot is the median of the rounds’ ratios, its \
             line their range; a cross is a failure. Point at a name or a dot for more.</p>",
            group.title(),
            escape(&results.base)
        );
        legend(results, &mut out);
        out.push_str(&svg::ratios(results, &items));
        let _ = writeln!(
            out,
            "<details><summary>All figures</summary><div class=\"scroll\">"
        );
        table(results, &items, &mut out);
        out.push_str("</div></details>\n");
    }
    for group in [Group::Start, Group::Idle] {
        for (i, item) in results.group(group).enumerate() {
            if i == 0 {
                let _ = writeln!(out, "<h2>{}</h2>", group.title());
            }
            let _ = writeln!(
                out,
                "<p><code>{}</code>: {}</p>",
                escape(&item.name),
                escape(&item.what)
            );
            out.push_str(&svg::bars(results, item));
        }
    }
    failures(results, &mut out);
    how(results, &mut out);
    out.push_str("</body></html>\n");
    out
}

fn tiles(results: &Results, out: &mut String) {
    out.push_str("<div class=\"tiles\">\n");
    for group in [Group::Micro, Group::Real] {
        for (of, to) in results.pairs() {
            if let Some((s, count)) = results.mean(group, of, to) {
                let _ = writeln!(
                    out,
                    "<div class=\"tile\"><b>{}×</b>{} / {}<br><span>{}, {count} items<br>rounds: {} to {}</span></div>",
                    ratio(s.median),
                    escape(of),
                    escape(to),
                    group.title(),
                    ratio(s.low),
                    ratio(s.high)
                );
            }
        }
    }
    out.push_str("</div>\n");
}

fn legend(results: &Results, out: &mut String) {
    out.push_str("<p class=\"legend\">");
    for r in &results.runtimes {
        if r.name != results.base {
            let class = svg::class(results, &r.name);
            let _ = write!(
                out,
                "<span><i style=\"background:var(--c{class})\"></i>{}</span>",
                escape(&r.name)
            );
        }
    }
    out.push_str("</p>\n");
}

fn table(results: &Results, items: &[&Measured], out: &mut String) {
    let pairs = results.pairs();
    out.push_str("<table><thead><tr><th></th>");
    for r in &results.runtimes {
        let _ = write!(out, "<th>{}</th>", escape(&r.name));
    }
    for (of, to) in &pairs {
        let _ = write!(out, "<th>{} / {}</th>", escape(of), escape(to));
    }
    out.push_str("</tr></thead><tbody>\n");
    for item in items {
        let _ = write!(
            out,
            "<tr><td title=\"{}\">{}</td>",
            escape(&item.what),
            escape(&item.name)
        );
        for r in &results.runtimes {
            let _ = match item.outcome(&r.name) {
                Outcome::Figure(s) => write!(
                    out,
                    "<td title=\"{} to {}\">{}</td>",
                    item.unit.show(s.low),
                    item.unit.show(s.high),
                    item.unit.show(s.median)
                ),
                Outcome::Failed(_, _, why) => {
                    write!(
                        out,
                        "<td class=\"bad\" title=\"{}\">FAILED</td>",
                        escape(&why)
                    )
                }
                Outcome::Skipped(why) => write!(out, "<td title=\"{}\">–</td>", escape(&why)),
            };
        }
        for (of, to) in &pairs {
            let _ = match item.ratio(of, to) {
                Some(s) => write!(
                    out,
                    "<td>{} <small>{}–{}</small></td>",
                    ratio(s.median),
                    ratio(s.low),
                    ratio(s.high)
                ),
                None => write!(out, "<td>–</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n");
}

fn failures(results: &Results, out: &mut String) {
    let failures = results.failures();
    if failures.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Failed</h2>\n<p>Wrong results, or none. They are left out of the means.</p>\n<ul>\n",
    );
    for (item, runtime, n, of, why) in failures {
        let _ = writeln!(
            out,
            "<li><code>{}</code> under {}, {n} of {of} rounds: {}</li>",
            escape(item),
            escape(runtime),
            escape(&why)
        );
    }
    out.push_str("</ul>\n");
}

fn how(results: &Results, out: &mut String) {
    out.push_str("<h2>How it was measured</h2>\n<ul>\n");
    for r in results.runtimes.iter().filter(|r| r.name != NATIVE) {
        let _ = writeln!(
            out,
            "<li>{}: <code>{}</code>, {}</li>",
            escape(&r.name),
            escape(&r.command),
            escape(&r.version)
        );
    }
    let _ = writeln!(
        out,
        "<li>In every round each runtime ran each item once, one after the other, in a fresh container; a ratio is of two runs of one \
         round.</li>\n<li>Load average before: {:.2}.</li>\n<li><code>{}</code></li>\n</ul>",
        results.setting.load_before,
        escape(&results.setting.command)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let page = write(&sample());
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        for forbidden in [
            "http://", "https://", "<script", "<link", "@import", "<hash>",
        ] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for tag in ["svg", "table", "div", "ul", "details", "g"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(page.contains("FAILED") && page.contains("wrong &lt;hash&gt;"));
    }
}
