# shellcheck shell=sh
# Ends what a run of the tests has started and removes what it has written, when the run itself cannot: after Ctrl-C, a time
# limit or SIGKILL. Arguments: the process group of all servers, and what the names of all directories begin with.
group=$1 directories=$2
trap '' HUP INT QUIT TERM

# The standard input ends when the run does, however it does.
cat > /dev/null

# The processes of a paused PostgreSQL are in groups of their own. It waits for them when it stops.
for file in "$directories"*/*/postmaster.pid; do
    [ -f "$file" ] || continue
    read -r pid < "$file"
    # shellcheck disable=SC2046 # they are several words
    kill -CONT $(cat "/proc/$pid/task/$pid/children")
done 2> /dev/null

# In order first: PostgreSQL then gives back its shared memory.
if kill -CONT -"$group" && kill -INT -"$group"; then
    tries=0
    while kill -0 -"$group" && [ $tries -lt 50 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    kill -KILL -"$group"
fi 2> /dev/null

# One that was killed has left its shared memory, and this file.
for file in "$directories"*/*/postmaster.pid; do
    [ -f "$file" ] && ipcrm -m "$(awk 'NR == 7 { print $2 }' "$file")"
done 2> /dev/null

# A test that has failed keeps its directory.
for directory in "$directories"*; do
    [ -e "$directory/kept" ] || rm -rf "$directory"
done
