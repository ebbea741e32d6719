// Package journal is the binary format of a journal row's body: what was decided about each event of a batch.
//
// The journal is the decision and Kafka is the event; balances, rollups and the dedupe window are functions of the two.
// A body is written once and read by the fold, live balances, rollups, takeover and verify, so the format is versioned and
// old versions stay readable.
//
// # Format, version 2
//
// uvarint and varint are encoding/binary's; all fixed-width integers are little-endian. A body is one version byte (2)
// and then columns, each a uvarint length in bytes followed by that many bytes:
//
//	decisions  one byte an event: a Decision
//	positions  uvarint an event: position − the position before it − 1; before the first stands the row's from_pos − 1
//	identities 16 bytes for each event that has one (HasIdentity)
//	times      varint for each charged, observed, reversal or recharge event: Unix µs − the last such time; the first against 0
//	paths      the dictionary: uvarint count, then for each path: uvarint account, section; varint cycle start in Unix s;
//	           uvarint number of scopes, then that many uvarint scopes, root first
//	charges    for each event with a time: uvarint path index, membership's scope below the path (0: none); varint user's
//	           scope (0: none) − membership's; uvarint model, price, factor, flags; varint credits (10⁻⁶), cost (10⁻¹² USD)
//	reasons    for each quarantined event: one byte Reason, uvarint account (0: not known)
//	homes      uvarint for each moved event: the partition that it was produced to
//
// An event of a correction (a reversal or a recharge) stands at positions of the corrections log and has, besides, the
// journal coordinates of the charge that it replaces:
//
//	origins    for each reversal or recharge: uvarint offsets id, uvarint position
//
// A loss row has an empty body: its range says what was lost.
//
// In version 1, which is read and no longer written, a path had the membership among its scopes and a uvarint user scope
// behind its section, and a charge named neither.
package journal
