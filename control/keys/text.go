package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"strings"
)

const (
	prefix    = "ck_"
	randomLen = 32
	digits    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// generate makes a key's text.
func generate() (string, error) {
	random := make([]byte, 0, randomLen)
	var b [64]byte
	for len(random) < randomLen {
		if _, err := rand.Read(b[:]); err != nil {
			return "", err
		}
		for _, c := range b {
			if c < 4*62 && len(random) < randomLen { // what is above would favour some digits
				random = append(random, digits[c%62])
			}
		}
	}
	return prefix + string(random) + checksum(string(random)), nil
}

func checksum(random string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(random))) }

// WellFormed says whether a text is a key by its form and checksum.
func WellFormed(text string) bool {
	rest, ok := strings.CutPrefix(text, prefix)
	return ok && len(rest) == randomLen+8 && rest[randomLen:] == checksum(rest[:randomLen])
}

func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func lastFour(text string) string { return text[len(text)-4:] }
