/** The one place that knows the state of the page. Views listen to it; only actions change it. */

/**
 * @param {object} initial all keys with their first values
 */
export function createStore(initial) {
  const listeners = new Set();
  const store = {
    state: Object.freeze({ ...initial }),

    /** Replaces some values; whoever listens to one that is another now is told once. */
    set(changes) {
      const before = store.state;
      const changed = new Set(Object.keys(changes).filter((key) => !Object.is(before[key], changes[key])));
      if (!changed.size) return;
      store.state = Object.freeze({ ...before, ...changes });
      for (const { keys, listener } of [...listeners]) {
        if (keys.some((key) => changed.has(key))) listener(store.state);
      }
    },

    /** Calls `listener` now and whenever one of `keys` has changed; the answer ends that. */
    on(keys, listener) {
      const entry = { keys, listener };
      listeners.add(entry);
      listener(store.state);
      return () => listeners.delete(entry);
    },
  };
  return store;
}
