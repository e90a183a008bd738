#!/bin/sh
# Greets until it is asked to end, and then says goodbye.

trap 'echo "Goodbye"; exit 0' TERM

count=0
while true; do
    count=$((count + 1))
    echo "$GREETING, $count"
    sleep "${PAUSE:-1}" &
    wait $!
done
