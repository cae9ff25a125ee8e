# needs: gcc make libc6-dev
for i in 1 2 3 4 5 6 7 8 9 10 11; do echo "int f$i(int x) { return x + $i; }" > f$i.c; done
{ for i in 1 2 3 4 5 6 7 8 9 10 11; do echo "int f$i(int);"; done
  echo '#include <stdio.h>'; echo 'int main(void) { int x = 0;'
  for i in 1 2 3 4 5 6 7 8 9 10 11; do echo "x = f$i(x);"; done; echo 'printf("%d\n", x); return 0; }'; } > main.c
printf 'OBJS = main.o f1.o f2.o f3.o f4.o f5.o f6.o f7.o f8.o f9.o f10.o f11.o\nprog: $(OBJS)\n\t@$(CC) -o $@ $(OBJS)\n%%.o: %%.c\n\t@$(CC) -O1 -c $<\n' > Makefile
make -s -j2 && ./prog
gcc -O1 -static -o static main.c f*.c && ./static
