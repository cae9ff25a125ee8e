//! SQLite.

use super::tools::{expect, run_with_input};
use super::{Found, Unit, Workload};
use std::fmt::Write;

pub const ALL: &[Workload] = &[
    Workload {
        name: "sqlite-transactions",
        what: "sqlite3: 1000 inserts, each a transaction of its own",
        unit: Unit::Seconds,
        needs: &["sqlite3"],
        run: |cx| {
            let n = cx.scale(1000);
            let mut sql = String::from("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);\n");
            for i in 0..n {
                writeln!(sql, "INSERT INTO t(b) VALUES('row {i}');")?;
            }
            let (took, _) = cx.timed(|| run_with_input("sqlite3", &["data.db"], sql.as_bytes()))?;
            let check = b"SELECT count(*), sum(a), max(length(b)) FROM t; PRAGMA integrity_check;";
            let out = run_with_input("sqlite3", &["data.db"], check)?;
            let longest = format!("row {}", n - 1).len();
            expect(
                "sqlite3",
                &out,
                &format!("{n}|{}|{longest}\nok", n * (n + 1) / 2),
            )?;
            Found::time(took, out)
        },
    },
    Workload {
        name: "sqlite-bulk",
        what: "sqlite3: 100,000 rows in one transaction, an index, sums, a join, a vacuum",
        unit: Unit::Seconds,
        needs: &["sqlite3"],
        run: |cx| {
            let n = cx.scale(100_000);
            let sql = format!(
                "CREATE TABLE t(a INTEGER PRIMARY KEY, b INTEGER, c TEXT);\nBEGIN;\n\
                 WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i+1 < {n})\n\
                 INSERT INTO t SELECT i, i*i%1000, 'text of row '||i FROM n;\nCOMMIT;\n\
                 CREATE INDEX tb ON t(b);\n\
                 SELECT count(*), sum(b) FROM t;\n\
                 SELECT count(*) FROM t x JOIN t y ON x.a = y.b WHERE x.a < 100;\n\
                 DELETE FROM t WHERE a % 2;\nVACUUM;\nSELECT sum(a) FROM t;\n"
            );
            let (took, out) =
                cx.timed(|| run_with_input("sqlite3", &["data.db"], sql.as_bytes()))?;
            let b = |i: usize| i * i % 1000;
            let sum: usize = (0..n).map(b).sum();
            let joined = (0..n).filter(|i| b(*i) < 100).count();
            let even: usize = (0..n).step_by(2).sum();
            expect("sqlite3", &out, &format!("{n}|{sum}\n{joined}\n{even}"))?;
            Found::time(took, out)
        },
    },
];
