# order NAME WHERE LETTER=ATTACH-POINTS…: says in which order clauses run. Each prints its letter when a probe that fits
# WHERE hits for the first time.
order() {
    name=$1 where=$2
    shift 2
    echo 'config = { print_maps_on_exit = 0 }' > order.rt
    for clause; do
        letter=${clause%%=*}
        echo "${clause#*=} /pid == cpid && $where/ { if (@$letter++ == 0) { printf(\"$letter\") } }" >> order.rt
    done
    echo "$name: $(rtrace -q order.rt -c 'dd if=/dev/zero of=/dev/null bs=77 count=3 status=none' 2>&1)"
}
