# Prints the progress of a run, for scripts/train: awk -F, -f progress.awk -v stage=NAME [curves/NAME.csv] [milestones/scores.csv]
FNR == 1 { split($0, name, ","); next }

# A line of a curve: step, samples, seconds, rate, loss.
FILENAME ~ /curves/ { samples[++n] = $2; seconds[n] = $3; loss[n] = $5 }

FILENAME ~ /milestones/ {
  last = sprintf("milestone: %s at %d samples", $1, $2)
  for (i = 3; i <= NF; i++) if ($i != "") last = last sprintf(", %s %s", name[i], $i)
}

END {
  if (n) {
    for (first = n; first > 1 && seconds[n] - seconds[first] < 60;) first--
    time = seconds[n] - seconds[first]
    rate = time > 0 ? (samples[n] - samples[first]) / time : samples[n] / (seconds[n] > 0 ? seconds[n] : 1)
    printf "stage: %s, %d samples, %.1f a second in the last minute\nlosses:", stage, samples[n], rate
    for (i = n > 5 ? n - 4 : 1; i <= n; i++) printf " %s", loss[i]
    print ""
  } else if (stage) print "stage: " stage ", no line of its curve yet"
  if (last) print last
}
