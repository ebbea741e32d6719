package controltest

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Job is a job as the API shows it.
type Job struct {
	ID, State string
	Items     struct{ Total, Done, Unchanged, Failed int }
}

// Imported is what came of a file: the job when it has ended, and of each line, by its number, what came of it.
type Imported struct {
	Job   Job
	Lines map[string]string // "2": "done create", "3": "failed named_twice key"
}

// ImportJob sends a file to the import of that name below place, and waits for its job. Somebody must work (Work). query may ask
// for a dry run. It fails the test if the file is refused.
func (c *Client) ImportJob(place, name, query, file string) *Job {
	c.s.t.Helper()
	var job Job
	c.Want(http.StatusAccepted, http.MethodPost, place+"/imports/"+name+query, file, "Content-Type", "text/csv").Into(&job)
	for job.State == "queued" || job.State == "running" {
		time.Sleep(20 * time.Millisecond)
		c.Want(http.StatusOK, http.MethodGet, place+"/jobs/"+job.ID, "").Into(&job)
	}
	return &job
}

// Import is ImportJob, and reads what came of each line.
func (c *Client) Import(place, name, query, file string) *Imported {
	c.s.t.Helper()
	im := &Imported{Job: *c.ImportJob(place, name, query, file), Lines: map[string]string{}}
	path := place + "/jobs/" + im.Job.ID
	for cursor := ""; ; {
		var page struct {
			Items []struct {
				Ref, State, Code string
				Detail           struct {
					Action, Column string
					Fields         []string
				}
			}
			NextCursor string `json:"next_cursor"`
		}
		r := c.Want(http.StatusOK, http.MethodGet, path+"/items?limit=200"+cursor, "")
		if err := json.Unmarshal(r.Body, &page); err != nil {
			c.s.t.Fatal(err)
		}
		for _, i := range page.Items {
			what := append([]string{i.State, i.Code, i.Detail.Action, i.Detail.Column}, i.Detail.Fields...)
			im.Lines[strings.TrimPrefix(i.Ref, "line ")] = strings.Join(strings.Fields(strings.Join(what, " ")), " ")
		}
		if page.NextCursor == "" {
			return im
		}
		cursor = "&cursor=" + page.NextCursor
	}
}
