const [ID, PARENT, LANE_OF, ROLE, TEXT, TOKENS, BYTES, FLAGS] = [0, 1, 2, 3, 4, 5, 6, 7];
const UNFINISHED = 1, SPILLED = 2;
const LIVE = "live"; // the row of an answer that grows

/** The tree as rows from top to bottom: parents first, a branch before its parent's first child. */
class Graph {
  constructor({ rows = [], head = "", tags = {} }) {
    this.rows = new Map();
    this.below = new Map(); // children: the first goes on in its parent's lane
    this.folded = new Set();
    this.tags = { ...tags };
    this.live = null;
    for (const row of rows) this.adopt(row);
    this.arrange();
    this.move(head);
  }

  adopt(row) {
    const had = this.rows.get(row[ID]);
    this.rows.set(row[ID], row);
    if (had) return false;
    const siblings = this.below.get(row[PARENT]) ?? [];
    const parent = this.rows.get(row[PARENT]);
    if (parent && parent[LANE_OF] === row[LANE_OF]) siblings.unshift(row[ID]);
    else siblings.push(row[ID]);
    this.below.set(row[PARENT], siblings);
    return true;
  }

  children(id) {
    return this.below.get(id) ?? [];
  }

  arrange() {
    this.order = [];
    this.place = new Map();
    const stack = this.children("").map((id) => [id, []]);
    while (stack.length) {
      const [id, lines] = stack.pop();
      this.place.set(id, this.order.length);
      this.order.push({ id, lines });
      if (this.folded.has(id)) continue;
      const [first, ...others] = this.children(id);
      const lane = this.rows.get(id)[LANE_OF];
      if (first) stack.push([first, lines]);
      for (const other of others.reverse()) stack.push([other, [...lines, [lane, id]]]);
    }
  }

  /** Put a new row into its place without looking at the others. */
  insert(row) {
    if (!this.adopt(row)) return;
    const parent = this.place.get(row[PARENT]);
    if (parent === undefined || this.folded.has(row[PARENT])) return; // it is not to be seen
    const { lines } = this.order[parent];
    const [first] = this.children(row[PARENT]);
    const alone = first === row[ID];
    const at = alone ? parent + 1 : this.place.get(first);
    const lane = this.rows.get(row[PARENT])[LANE_OF];
    this.order.splice(at, 0, { id: row[ID], lines: alone ? lines : [...lines, [lane, row[PARENT]]] });
    for (let i = at; i < this.order.length; i++) this.place.set(this.order[i].id, i);
  }

  /** Take rows out, and others in with what changed of them. */
  replace(gone, rows) {
    for (const id of gone) {
      this.rows.delete(id);
      this.folded.delete(id);
    }
    for (const row of rows) this.rows.set(row[ID], row);
    this.below = new Map();
    const all = [...this.rows.values()];
    for (const row of all) this.rows.delete(row[ID]);
    for (const row of all) this.adopt(row);
    this.arrange();
  }

  move(head) {
    this.head = head;
    this.active = new Set();
    this.next = new Map(); // each checkpoint's child on the active path
    for (let row = this.rows.get(head); row; row = this.rows.get(row[PARENT])) {
      this.active.add(row[ID]);
      this.next.set(row[PARENT], row[ID]);
    }
    this.reveal(head);
  }

  /** Unfold what hides a checkpoint. */
  reveal(id) {
    if (this.place.has(id) || !this.rows.has(id)) return;
    for (let row = this.rows.get(id); row; row = this.rows.get(row[PARENT])) this.folded.delete(row[PARENT]);
    this.arrange();
  }

  fold(id, folded) {
    if (folded && this.children(id).length && (id === this.head || !this.active.has(id))) this.folded.add(id);
    else if (!folded) this.folded.delete(id);
    this.arrange();
  }

  /** Fold every branch beside the active path, or unfold all. */
  focusPath(on) {
    this.folded.clear();
    if (on) {
      for (const id of this.active) {
        for (const child of this.children(id)) {
          if (!this.active.has(child) && this.children(child).length) this.folded.add(child);
        }
      }
    }
    this.arrange();
  }

  /** All that a checkpoint would take along. */
  subtree(id) {
    const found = [id];
    for (let i = 0; i < found.length; i++) found.push(...this.children(found[i]));
    return found;
  }

  grow([text, tokens]) {
    const parent = this.rows.get(this.head);
    if (!parent) return;
    if (!this.live) {
      const lane = parent[LANE_OF] + (this.children(this.head).length ? 1 : 0);
      this.live = [LIVE, this.head, lane, "", "", 0, 0, 0];
      this.insert(this.live);
      this.next.set(this.head, LIVE);
      this.active.add(LIVE);
    }
    this.live[TEXT] = (this.live[TEXT] + text).slice(-80);
    this.live[TOKENS] += tokens;
  }

  /** What grew is a checkpoint now, or was dropped. */
  settle() {
    if (!this.live) return;
    const { live } = this;
    this.live = null;
    this.rows.delete(LIVE);
    const siblings = this.children(live[PARENT]).filter((id) => id !== LIVE);
    if (siblings.length) this.below.set(live[PARENT], siblings);
    else this.below.delete(live[PARENT]);
    this.active.delete(LIVE);
    this.next.delete(live[PARENT]);
    const at = this.place.get(LIVE);
    if (at === undefined) return;
    this.place.delete(LIVE);
    this.order.splice(at, 1);
    for (let i = at; i < this.order.length; i++) this.place.set(this.order[i].id, i);
  }

  apply(change) {
    if (change.head || change.rows || change.gone) this.settle();
    if (change.gone) this.replace(change.gone, change.rows ?? []);
    else for (const row of change.rows ?? []) this.insert(row);
    for (const [tag, id] of Object.entries(change.tags ?? {})) {
      if (id) this.tags[tag] = id;
      else delete this.tags[tag];
    }
    if (change.head || change.rows) this.move(change.head ?? this.head);
    if (change.live && !change.head) this.grow(change.live);
  }
}
