# One stage of a trial, as short as a real one is long: a chain of numbers, one an epoch. Each follows from the one before,
# the seed, and the parameters that matter in its epoch. What is reported are these numbers; the state is all of them so far.
set -eu
a=$1 b=$2 c=$3 d=$4
number=$((SWEEP_SEED + 17)) epoch=0 state=
if [ -n "$SWEEP_LOAD" ]; then
    # `read` empties its variables at the end of the file.
    while read -r saved_epoch saved_number; do
        epoch=$saved_epoch number=$saved_number
        state="$state$epoch $number
"
    done < "$SWEEP_LOAD"
fi
if [ "$epoch" != $((SWEEP_FIRST_EPOCH - 1)) ]; then
    echo "asked for epoch $SWEEP_FIRST_EPOCH after the state of epoch $epoch"
    exit 3
fi
# Some stages are slow, so that they are reported of while they run.
pause=0.02
if [ "$b" -eq 2 ]; then pause=0.2; fi
while [ "$epoch" -lt "$SWEEP_LAST_EPOCH" ]; do
    sleep "$pause"
    epoch=$((epoch + 1))
    matters=$a
    if [ "$epoch" -gt 2 ]; then matters=$((matters * 31 + b)); fi
    if [ "$epoch" -gt 4 ]; then matters=$((matters * 31 + c)); fi
    if [ "$epoch" -gt 7 ]; then matters=$((matters * 31 + d)); fi
    number=$(((number * 48271 + matters * 69621 + epoch) % 2147483647))
    printf '{"epoch": %d, "number": %d, "fraction": 0.%09d}\n' "$epoch" "$number" "$number" >> "$SWEEP_REPORT"
    state="$state$epoch $number
"
done
printf '%s' "$state" > "$SWEEP_SAVE"
