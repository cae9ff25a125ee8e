# needs: sqlite3
sqlite3 db 'create table t(id integer primary key, v text); create index i on t(v);'
{ echo 'begin;'; for i in $(seq 4900); do echo "insert into t(v) values('value $i');"; done; echo 'commit;'; for i in $(seq 4901 5000); do echo "insert into t(v) values('value $i');"; done; } | sqlite3 db
sqlite3 db 'select count(*), sum(id), min(v), max(v) from t; pragma integrity_check; pragma journal_mode=wal; update t set v = v || "x" where id % 2; select v from t where id = 77; vacuum;'
