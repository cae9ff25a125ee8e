# needs: tar gzip xz-utils bzip2
mkdir data; for i in $(seq 200); do seq $i 3000 > data/$i; done
tar cf a.tar data; gzip -k a.tar; xz -T2 -k -1 a.tar; 
gunzip -c a.tar.gz | cmp - a.tar && xz -dc -T2 a.tar.xz | cmp - a.tar && echo same
mkdir out; tar xzf a.tar.gz -C out; diff -r data out/data && echo extracted; tar tf a.tar.xz | wc -l; tar cJf - data | tar tJf - | sort | tail -1
