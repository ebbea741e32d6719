// Package secrets holds the program's own keys: what it encrypts with what it must read again, and what it makes
// other keys from.
//
// They are in one file, mode 0600, that all processes of a deployment share. It has two Tink keysets: aead seals, prf
// derives. Each may hold several keys: the newest one writes, all of them read, so that Rotate takes effect at the next
// start of each process and nothing that was written before is lost. Sealed text is bound to what it is about (associated
// data): moved to another row, or used for another purpose, it does not open.
//
// Failures: Load refuses a file that others may read, or that is not whole; Open gives ErrSealed for whatever was not
// sealed under one of the keys, about the same thing. A lost file can't be made again: sessions end, and what was
// sealed is gone.
package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// ErrSealed says that a text was not sealed by these keys about this thing.
var ErrSealed = errors.New("not sealed by these keys for this purpose")

// Keys are the program's keys. They are safe for concurrent use.
type Keys struct {
	seal   tink.AEAD
	derive []prf.PRF // newest first
}

// file is what a key file holds.
type file struct {
	AEAD json.RawMessage `json:"aead"`
	PRF  json.RawMessage `json:"prf"`
}

// Create makes a file with new keys. It never replaces one: an error that is fs.ErrExist says that there is one.
func Create(path string) error {
	text, err := grown(file{})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create the key file: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("create the key file: %w", err)
	}
	return nil
}

// Rotate adds a key of each kind, which writes from the next start on, and keeps the old ones for reading. The file is
// replaced as a whole.
func Rotate(path string) error {
	old, err := read(path)
	if err != nil {
		return err
	}
	text, err := grown(old)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("rotate the key file: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("rotate the key file: %w", err)
	}
	return nil
}

// Load reads a key file.
func Load(path string) (*Keys, error) {
	f, err := read(path)
	if err != nil {
		return nil, err
	}
	k := &Keys{}
	sealing, err := handle(f.AEAD)
	if err == nil {
		k.seal, err = aead.New(sealing)
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s: aead: %w", path, err)
	}
	deriving, err := handle(f.PRF)
	if err != nil {
		return nil, fmt.Errorf("key file %s: prf: %w", path, err)
	}
	set, err := prf.NewPRFSet(deriving)
	if err != nil {
		return nil, fmt.Errorf("key file %s: prf: %w", path, err)
	}
	for i := deriving.Len() - 1; i >= 0; i-- { // keys are in the order in which they were added
		entry, err := deriving.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("key file %s: prf: %w", path, err)
		}
		p, ok := set.PRFs[entry.KeyID()]
		if !ok {
			continue // disabled
		}
		if entry.KeyID() == set.PrimaryID {
			k.derive = slices.Insert(k.derive, 0, p)
		} else {
			k.derive = append(k.derive, p)
		}
	}
	return k, nil
}

// Seal encrypts a text, bound to what it is about.
func (k *Keys) Seal(text []byte, about string) ([]byte, error) {
	sealed, err := k.seal.Encrypt(text, []byte(about))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed, nil
}

// Open gives what Seal was given.
func (k *Keys) Open(sealed []byte, about string) ([]byte, error) {
	text, err := k.seal.Decrypt(sealed, []byte(about))
	if err != nil {
		return nil, ErrSealed
	}
	return text, nil
}

// Derive makes the key of a name, always the same one until the file is rotated. 1 to 8160 bytes.
func (k *Keys) Derive(name string, length uint32) []byte { return compute(k.derive[0], name, length) }

// DeriveAll makes the key of a name by every key of the file, the newest first: to check what older ones signed.
func (k *Keys) DeriveAll(name string, length uint32) [][]byte {
	all := make([][]byte, 0, len(k.derive))
	for _, p := range k.derive {
		all = append(all, compute(p, name, length))
	}
	return all
}

func compute(p prf.PRF, name string, length uint32) []byte {
	key, err := p.ComputePRF([]byte(name), length)
	if err != nil {
		panic("BUG: " + err.Error()) // only for a length that HKDF does not have
	}
	return key
}

func read(path string) (f file, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return f, fmt.Errorf("key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return f, fmt.Errorf("key file %s: others may read it (mode %#o); chmod 600: %w", path, info.Mode().Perm(), fs.ErrPermission)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return f, fmt.Errorf("key file: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, fmt.Errorf("key file %s is none: %w", path, err)
	}
	if len(f.AEAD) == 0 || len(f.PRF) == 0 {
		return f, fmt.Errorf("key file %s is not whole", path)
	}
	return f, nil
}

// grown is the file with one more key of each kind.
func grown(old file) ([]byte, error) {
	sealing, err := add(old.AEAD, aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	deriving, err := add(old.PRF, prf.HKDFSHA256PRFKeyTemplate())
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(file{sealing, deriving}, "", "  ")
}

// add gives a keyset one more key, its primary.
func add(old json.RawMessage, template *tinkpb.KeyTemplate) (json.RawMessage, error) {
	manager := keyset.NewManager()
	if len(old) > 0 {
		h, err := handle(old)
		if err != nil {
			return nil, err
		}
		manager = keyset.NewManagerFromHandle(h)
	}
	id, err := manager.Add(template)
	if err == nil {
		err = manager.SetPrimary(id)
	}
	if err != nil {
		return nil, fmt.Errorf("add a key: %w", err)
	}
	h, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("add a key: %w", err)
	}
	var text bytes.Buffer
	err = insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&text))
	return text.Bytes(), err
}

func handle(text json.RawMessage) (*keyset.Handle, error) {
	return insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
}
