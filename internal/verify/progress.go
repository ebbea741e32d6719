package verify

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// lineEvery is how often a line says how far a long step is, where there is no bar.
const lineEvery = 5 * time.Second

// progress tells people how far the verification is: a bar on a terminal, lines elsewhere.
type progress struct {
	out         io.Writer
	bars        *mpb.Progress // nil: lines
	bar         *mpb.Bar
	begin, last time.Time
	what        string
	done, total int64
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, begin: time.Now()}
	if terminal(out) {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	}
	return p
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// step begins a step of so many parts; 0: not known.
func (p *progress) step(what string, total int64) {
	p.finish()
	p.what, p.done, p.total, p.last = what, 0, total, time.Now()
	if p.bars == nil {
		p.line(what)
		return
	}
	name, elapsed := decor.Name(what+" "), mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_GO))
	if total == 0 {
		p.bar = p.bars.New(0, mpb.SpinnerStyle(), mpb.BarRemoveOnComplete(), mpb.BarWidth(1), mpb.PrependDecorators(name), elapsed)
		return
	}
	p.bar = p.bars.AddBar(total, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(name, decor.CountersNoUnit("%d of %d")), elapsed)
}

// add counts parts that are done.
func (p *progress) add(n int64) {
	p.done += n
	if p.bar != nil {
		p.bar.IncrInt64(n)
	} else if now := time.Now(); now.Sub(p.last) >= lineEvery {
		p.last = now
		p.line(fmt.Sprintf("%s: %d of %d", p.what, p.done, p.total))
	}
}

func (p *progress) line(text string) {
	fmt.Fprintf(p.out, "%5.1fs  %s\n", time.Since(p.begin).Seconds(), text)
}

func (p *progress) finish() {
	if p.bar != nil {
		p.bar.SetTotal(-1, true)
		p.bar = nil
	}
}

// close leaves the terminal as it was.
func (p *progress) close() {
	p.finish()
	if p.bars != nil {
		p.bars.Wait()
	}
}
