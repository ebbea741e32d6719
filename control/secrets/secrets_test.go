package secrets_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/alchemi/cockpit/control/secrets"
)

func load(t *testing.T, path string) *secrets.Keys {
	t.Helper()
	k, err := secrets.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTheNewestKeyWritesAndAllRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := secrets.Create(path); err != nil {
		t.Fatal(err)
	}
	if err := secrets.Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	first := load(t, path)
	sealed, err := first.Seal([]byte("token"), "session 1")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("token")) {
		t.Error("not encrypted")
	}
	for range 2 {
		if err := secrets.Rotate(path); err != nil {
			t.Fatal(err)
		}
	}
	third := load(t, path)
	if text, err := third.Open(sealed, "session 1"); err != nil || string(text) != "token" {
		t.Errorf("after rotation: %q %v", text, err)
	}
	newer, err := third.Seal([]byte("token"), "session 1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Open(newer, "session 1"); !errors.Is(err, secrets.ErrSealed) {
		t.Errorf("the first key opens what the third sealed: %v", err)
	}
	for name, s := range map[string][]byte{"about another": sealed, "cut": sealed[:len(sealed)-1], "empty": nil, "foreign": []byte("plain text")} {
		about := "session 1"
		if name == "about another" {
			about = "session 2"
		}
		if _, err := third.Open(s, about); !errors.Is(err, secrets.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	all := third.DeriveAll("audit", 32)
	if len(all) != 3 || !bytes.Equal(all[0], third.Derive("audit", 32)) || !bytes.Equal(all[2], first.Derive("audit", 32)) || bytes.Equal(all[0], all[2]) {
		t.Errorf("derived keys: %x", all)
	}
	if bytes.Equal(third.Derive("audit", 32), third.Derive("csrf", 32)) || !bytes.Equal(third.Derive("audit", 32), load(t, path).Derive("audit", 32)) {
		t.Error("a derived key is not a function of its name")
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if err := secrets.Create(good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"empty": nil, "json": []byte(`{}`), "half": text[:len(text)/2], "null": []byte("null"),
		"unknown": []byte(`{"aead":{},"prf":{},"x":1}`), "no keys": []byte(`{"aead":{"primaryKeyId":1},"prf":{"primaryKeyId":1}}`)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := secrets.Load(path); err == nil {
			t.Errorf("%s was loaded", name)
		}
		if err := secrets.Rotate(path); err == nil && name != "no keys" {
			t.Errorf("%s was rotated", name)
		}
	}
	if err := os.Chmod(good, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Load(good); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("others may read it: %v", err)
	}
	if _, err := secrets.Load(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nowhere: %v", err)
	}
}
