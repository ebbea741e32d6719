package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

const (
	uploadMax     = 64 << 20
	uploadTimeout = 10 * time.Minute // of the sending, and of what is done with it
	uploadsMax    = 8                // at once, since each has a file on disk meanwhile
)

// Upload registers a write whose body is a file of one of the types. It goes to the disk as it comes, so that neither memory nor a
// transaction waits for a slow sender, and f reads it from there; it is gone when f returns. With an Idempotency-Key the same request
// is the one with the same bytes.
func Upload[I, O any](a *API, op Operation, types []string, f func(context.Context, *Call, *I, io.ReadSeeker) (*O, error)) {
	op.timeout = uploadTimeout
	described := a.prepare(&op)
	described.RequestBody = &huma.RequestBody{Required: true, Description: fmt.Sprintf("At most %d MiB, in UTF-8.", uploadMax>>20), Content: map[string]*huma.MediaType{}}
	for _, t := range types {
		described.RequestBody.Content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	a.uploads[uploadRoute(op.Method, strings.NewReplacer("{", ":", "}", "").Replace(op.Path))] = true
	huma.Register(a.huma, described, func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		out, err := upload(ctx, c, in, types, f)
		if err != nil {
			return nil, a.problem(ctx, c.RequestID, err)
		}
		return out, nil
	})
}

// uploadRoute names a route as gin does.
func uploadRoute(method, path string) string { return method + " " + path }

func upload[I, O any](ctx context.Context, c *Call, in *I, types []string, f func(context.Context, *Call, *I, io.ReadSeeker) (*O, error)) (*O, error) {
	if err := c.accepts(types); err != nil {
		return nil, err
	}
	select {
	case c.api.spooling <- struct{}{}:
		defer func() { <-c.api.spooling }()
	default:
		return nil, NewProblem(http.StatusServiceUnavailable, CodeUnavailable, "Too many files are being sent at once; try again.").With("Retry-After", "5")
	}
	file, sum, err := spool(c.gin.Request.Body)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return write(ctx, c, in, struct {
		In   *I
		File []byte
	}{in, sum}, func() (*O, error) { return f(ctx, c, in, file) })
}

// accepts refuses what is of no such type.
func (c *Call) accepts(types []string) error {
	h := c.gin.Request.Header
	t, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if charset := params["charset"]; err != nil || !slices.Contains(types, t) || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return NewProblem(http.StatusUnsupportedMediaType, codeOf(http.StatusUnsupportedMediaType), "Send "+strings.Join(types, " or ")+", in UTF-8.")
	}
	if encoding := h.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return NewProblem(http.StatusUnsupportedMediaType, codeOf(http.StatusUnsupportedMediaType), "Send the file as it is, and not compressed.")
	}
	return nil
}

// spool writes a body to a file that nobody else sees, and returns it, to be read from its beginning, with its SHA-256.
func spool(body io.Reader) (_ *os.File, sum []byte, err error) {
	file, err := os.CreateTemp("", "cockpit-upload-*")
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, nil, err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, hash), sender{body})
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	return file, hash.Sum(nil), err
}

// sender gives the errors of the one who sends as problems: they are neither the disk's nor the database's.
type sender struct{ body io.Reader }

// Read implements io.Reader.
func (s sender) Read(b []byte) (int, error) {
	n, err := s.body.Read(b)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case errors.As(err, &tooLarge):
		return n, NewProblem(http.StatusRequestEntityTooLarge, codeOf(http.StatusRequestEntityTooLarge), fmt.Sprintf("A file has at most %d MiB.", uploadMax>>20))
	}
	return n, NewProblem(http.StatusBadRequest, CodeInvalid, "The body could not be read.")
}

// boundUpload bounds the size of a body that is read later, and gives its sender time.
func boundUpload(g *gin.Context) {
	_ = http.NewResponseController(g.Writer).SetReadDeadline(time.Now().Add(uploadTimeout)) // else the server's own deadline holds
	g.Request.Body = http.MaxBytesReader(g.Writer, g.Request.Body, uploadMax)
}
