# needs: git
export HOME=$PWD GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
git config --global user.email a@b.c; git config --global user.name n; git config --global init.defaultBranch main
git config --global gc.auto 0
git init -q repo; cd repo
for i in 1 2 3; do echo "line $i" >> file; mkdir -p d$i; echo $i > d$i/f; git add .; git commit -qm "commit $i"; done
git log --format='%h %s'; git checkout -qb side HEAD~1; echo side > s; git add s; git commit -qm side; git checkout -q main; git merge -q side -m merged
git log --oneline | wc -l; git status --short; git diff HEAD~1 --stat; git gc -q; git fsck; ls; git grep line; git stash list; git clone -q . ../clone && ls ../clone
