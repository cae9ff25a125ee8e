# needs: perl
perl -e '
use strict; use IPC::Open3; use Fcntl qw(:flock); use Socket;
my %h = map { $_ => $_ ** 2 } 1..10; print join(",", map { "$_=$h{$_}" } sort { $a <=> $b } keys %h), "\n";
open(my $p, "-|", "echo from pipe") or die; print <$p>; close $p;
my $pid = fork; if (!$pid) { exit 5 } waitpid($pid, 0); print $? >> 8, "\n";
local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select(undef, undef, undef, 5) }; print $@;
open(my $f, ">", "lock"); print flock($f, LOCK_EX) ? "locked\n" : "no\n";
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC); syswrite($a, "sock\n"); print scalar <$b>;
print sprintf("%.3f", atan2(1,1)*4), "\n"; print `printf backtick`, "\n";
'
