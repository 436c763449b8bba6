package wire

import (
	"context"
	stdjson "encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/workers"
)

// Info is what the server says of a stream.
type Info struct {
	Created time.Time
	Last    uint64 // the last revision that it ever had
	Config  StreamConfig
	Cluster string // the name of the cluster that keeps it; empty for a server that is in no cluster
	Server  string // the name of the server that keeps it, or leads it
	Others  int    // how many other servers have it, or are to have it

	config jsontext.Value // all of its configuration
}

// StreamConfig is the part of a stream's configuration that natsorm depends on.
type StreamConfig struct {
	Name       string                `json:"name"`
	Replicas   int                   `json:"num_replicas"`
	Storage    jetstream.StorageType `json:"storage"`
	PerKey     int64                 `json:"max_msgs_per_subject"`
	MaxMsgSize int                   `json:"max_msg_size"`
	MaxBytes   int64                 `json:"max_bytes"`
	MaxMsgs    int64                 `json:"max_msgs"`
	Window     int64                 `json:"duplicate_window"` // in ns
	Direct     bool                  `json:"allow_direct"`
	MessageTTL bool                  `json:"allow_msg_ttl"`
	Batches    bool                  `json:"allow_atomic"`
	Rollup     bool                  `json:"allow_rollup_hdrs"`
	MaxAge     int64                 `json:"max_age"`                 // in ns
	Discard    string                `json:"discard"`                 // what a full stream does: "old" or "new"
	DiscardKey bool                  `json:"discard_new_per_subject"` // a key that has its messages takes no new one
	Retention  string                `json:"retention"`
	NoAck      bool                  `json:"no_ack"`
	Mirror     jsontext.Value        `json:"mirror"`
}

// Copies reports whether the stream mirrors another one: then it cannot be written to, and
// its settings follow other rules.
func (c StreamConfig) Copies() bool { return len(c.Mirror) > 0 && string(c.Mirror) != "null" }

// infoReply is the server's answer to requests about a stream.
type infoReply struct {
	Created time.Time      `json:"created"`
	Config  jsontext.Value `json:"config"`
	State   struct {
		Last uint64 `json:"last_seq"`
	} `json:"state"`
	Cluster *struct {
		Name     string     `json:"name"`
		Leader   string     `json:"leader"`
		Replicas []struct{} `json:"replicas"`
	} `json:"cluster"`
	Error *jetstream.APIError `json:"error"`
}

// Info asks the stream's leader for its configuration and state.
func (s *Stream) Info(ctx context.Context) (Info, error) {
	return s.info(ctx, "INFO", nil)
}

// Create makes the stream. One that is there with the same configuration stays as it is.
func (s *Stream) Create(ctx context.Context, config jetstream.StreamConfig) (Info, error) {
	body, err := stdjson.Marshal(config)
	if err != nil {
		return Info{}, err
	}
	return s.info(ctx, "CREATE", body)
}

// SwitchOn switches settings of the stream on, by their names in JSON. Everything else in
// its configuration, which is that of info, stays as it is: also what natsorm does not know.
func (s *Stream) SwitchOn(ctx context.Context, info Info, names ...string) (Info, error) {
	config := map[string]jsontext.Value{}
	if err := json.Unmarshal(info.config, &config); err != nil {
		return Info{}, err
	}
	for _, name := range names {
		config[name] = jsontext.Value("true")
	}
	body, err := json.Marshal(config)
	if err != nil {
		return Info{}, err
	}
	return s.info(ctx, "UPDATE", body)
}

func (s *Stream) info(ctx context.Context, request string, body []byte) (Info, error) {
	var resp infoReply
	if _, err := s.api(ctx, "$JS.API.STREAM."+request+"."+s.Name, body, &resp); err != nil {
		return Info{}, fmt.Errorf("natsorm: %s of stream %s: %w", strings.ToLower(request), s.Name, err)
	}
	if resp.Error != nil {
		return Info{}, fmt.Errorf("natsorm: %s of stream %s: %w", strings.ToLower(request), s.Name, resp.Error)
	}
	info := Info{Created: resp.Created, Last: resp.State.Last, config: resp.Config}
	if err := json.Unmarshal(resp.Config, &info.Config); err != nil {
		return Info{}, fmt.Errorf("natsorm: read the configuration of stream %s: %w", s.Name, err)
	}
	if c := resp.Cluster; c != nil {
		info.Cluster, info.Server, info.Others = c.Name, c.Leader, len(c.Replicas)
	}
	return info, nil
}

// Connected waits until the connection is there. ErrNoAnswer when it is not for
// DefaultTimeout and ctx has no deadline.
func (c *Client) Connected(ctx context.Context) error {
	for began := time.Now(); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.nc.IsConnected() {
			return nil
		}
		if err := c.err(); err != nil {
			return err
		}
		if _, ok := ctx.Deadline(); !ok && time.Since(began) > DefaultTimeout {
			return ErrNoAnswer
		}
		if err := workers.Sleep(ctx, BrokenPause); err != nil {
			return err
		}
	}
}

// directGets is the beginning of the subjects of direct gets.
const directGets = "$JS.API.DIRECT.GET."

// OnUntaken sets a function that is called when no server takes a direct get: nobody is
// there, or the stream does not allow it any more. Its error ends the request. It is set
// before the first request.
func (c *Client) OnUntaken(f func(context.Context) error) { c.untaken = f }

// OnNobody sets a function that is called when a request was sent in vain for the last
// time. It returns why, or nil when it does not know. It is called before the first request.
func (c *Client) OnNobody(f func(context.Context) error) { c.nobody = f }

// asks calls that function for a direct get that was not taken, twice in a row first and
// then less often.
func (c *Client) asks(ctx context.Context, subject string, untaken int) error {
	if c.untaken == nil || untaken%8 != 2 || !strings.HasPrefix(subject, directGets) {
		return nil
	}
	return c.untaken(ctx)
}
