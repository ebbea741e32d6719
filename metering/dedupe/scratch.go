package dedupe

import (
	"io"
	"os"
)

// File is where a run is kept. What is written is read again by the same process only.
type File interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
}

// Scratch returns a function that makes files in dir (empty: the system's directory for temporary files). They have no name
// there, so that they are gone when they are closed or the process ends, however it ends.
func Scratch(dir string) func() (File, error) {
	return func() (File, error) {
		f, err := os.CreateTemp(dir, "cockpit-window-")
		if err != nil {
			return nil, err
		}
		if err := os.Remove(f.Name()); err != nil {
			_ = f.Close()
			return nil, err
		}
		return f, nil
	}
}
