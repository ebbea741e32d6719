package identity_test

import (
	"testing"

	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// The home must be where Kafka's own producers put a record with the key account/source/id.
func TestHomeIsKafkasDefaultPartition(t *testing.T) {
	t.Parallel()
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic("usage.v1")
	rapid.Check(t, func(t *rapid.T) {
		account, source, id := rapid.String().Draw(t, "account"), rapid.String().Draw(t, "source"), rapid.String().Draw(t, "id")
		n := rapid.IntRange(1, 500).Draw(t, "partitions")
		want := partitioner.Partition(&kgo.Record{Key: identity.AppendKey(nil, account, source, id)}, n)
		if got := identity.Home(account, source, id, n); got != want {
			t.Fatalf("home %d, Kafka's partition %d", got, want)
		}
	})
}

func TestSumTellsFieldsApart(t *testing.T) {
	t.Parallel()
	h := identity.NewHasher([16]byte{1, 2, 3})
	seen := map[[16]byte]string{}
	for _, f := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"", "ab", "c"}, {"a", "bc", ""}, {"a/b", "", "c"}, {"a", "/b", "c"}} {
		sum := h.Sum(f[0], f[1], f[2])
		if other, ok := seen[sum]; ok {
			t.Errorf("%q has the hash of %s", f, other)
		}
		seen[sum] = f[0] + "|" + f[1] + "|" + f[2]
	}
	if h.Sum("a", "b", "c") == identity.NewHasher([16]byte{1, 2, 4}).Sum("a", "b", "c") {
		t.Error("the hash does not depend on the secret")
	}
}

func TestNoAllocations(t *testing.T) {
	h := identity.NewHasher([16]byte{1})
	if n := testing.AllocsPerRun(100, func() {
		h.Sum("acme", "alchemi-web", "01JABCDEFGHJKMNPQRSTVWXYZ0")
		identity.Home("acme", "alchemi-web", "01JABCDEFGHJKMNPQRSTVWXYZ0", 6)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
