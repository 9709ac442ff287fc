/** Snapshots of store.js, made in ways that must not matter. */

/** Freeze a value and all that it holds: from now on, changing it throws. */
export function frozen(value) {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.values(Object.freeze(value)).forEach(frozen);
  return value;
}

/**
 * Return the snapshot after `changes`, reduced in batches that end at `cuts`. Between two batches everything is frozen, and
 * with `stored` it is written to JSON and read again, as a page does over a refresh.
 */
export function inBatches({ EMPTY, reduceAll }, changes, cuts = [], { stored = false } = {}) {
  let snapshot = frozen(EMPTY);
  frozen(changes);
  const ends = [...cuts.filter((cut) => cut <= changes.length), changes.length].sort((a, b) => a - b);
  ends.forEach((end, i) => {
    snapshot = frozen(reduceAll(snapshot, changes.slice(ends[i - 1] ?? 0, end)));
    if (stored) snapshot = frozen(JSON.parse(JSON.stringify(snapshot)));
  });
  return snapshot;
}
