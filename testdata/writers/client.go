package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
)

const timeout = 5 * time.Second

// object is a JSON object of the JetStream API.
type object = map[string]any

// client speaks the JetStream API as JSON requests, so that one source serves every server line.
type client struct {
	nc          *nats.Conn
	compression string
	everything  bool // write the whole list of streams and consumers, not only the telling ones
	erase       bool // overwrite some deleted messages of ORDERS
}

// api sends one request below $JS.API and returns the answer, or the server's error.
func (c *client) api(subject string, body object) (object, error) {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	msg, err := c.nc.Request("$JS.API."+subject, payload, timeout)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	answer := object{}
	if err = json.Unmarshal(msg.Data, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	if failure, ok := answer["error"]; ok {
		return nil, fmt.Errorf("%s: %v", subject, failure)
	}
	return answer, nil
}

// stream creates a file stream with the case's compression.
func (c *client) stream(name string, settings object) error {
	_, err := c.api("STREAM.CREATE."+name, c.streamConfig(name, settings))
	return err
}

func (c *client) streamConfig(name string, settings object) object {
	body := object{
		"name": name, "storage": "file", "retention": "limits", "discard": "old", "num_replicas": 1,
		"max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1,
		"max_msg_size": -1, "duplicate_window": int64(2 * time.Minute),
	}
	if c.compression != "none" {
		body["compression"] = c.compression
	}
	for key, value := range settings {
		body[key] = value
	}
	return body
}

func (c *client) update(name string, settings object) error {
	_, err := c.api("STREAM.UPDATE."+name, c.streamConfig(name, settings))
	return err
}

// publish stores one message and waits for the server's word. header is key, value, key, value...
func (c *client) publish(subject, body string, header ...string) error {
	msg := nats.NewMsg(subject)
	msg.Data = []byte(body)
	for i := 0; i+1 < len(header); i += 2 {
		msg.Header[header[i]] = append(msg.Header[header[i]], header[i+1])
	}
	answer, err := c.nc.RequestMsg(msg, timeout)
	if err != nil {
		return fmt.Errorf("publish %q: %w", subject, err)
	}
	var ack struct {
		Error any `json:"error"`
	}
	if len(answer.Data) > 0 { // a staged batch message is acknowledged by an empty answer
		if err = json.Unmarshal(answer.Data, &ack); err != nil {
			return fmt.Errorf("publish %q: %w", subject, err)
		}
	}
	if ack.Error != nil {
		return fmt.Errorf("publish %q: %v", subject, ack.Error)
	}
	return nil
}

// remove deletes messages by sequence; erase also overwrites the record.
func (c *client) remove(stream string, erase bool, sequences ...uint64) error {
	for _, sequence := range sequences {
		if _, err := c.api("STREAM.MSG.DELETE."+stream, object{"seq": sequence, "no_erase": !erase}); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) purge(stream string, request object) error {
	_, err := c.api("STREAM.PURGE."+stream, request)
	return err
}

// consumer creates a consumer; an ephemeral one is named too, so that fixtures keep their paths.
func (c *client) consumer(stream, name string, durable bool, settings object) error {
	body := object{"name": name, "deliver_policy": "all", "ack_policy": "explicit", "replay_policy": "instant"}
	if durable {
		body["durable_name"] = name
	} else {
		body["inactive_threshold"] = int64(24 * time.Hour)
	}
	for key, value := range settings {
		body[key] = value
	}
	_, err := c.api("CONSUMER.CREATE."+stream+"."+name, object{"stream_name": stream, "config": body})
	return err
}

// pull takes count messages from a consumer.
func (c *client) pull(stream, consumer string, count int) ([]*nats.Msg, error) {
	inbox := c.nc.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	request, err := json.Marshal(object{"batch": count, "expires": int64(2 * time.Second)})
	if err != nil {
		return nil, err
	}
	if err = c.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+consumer, inbox, request); err != nil {
		return nil, err
	}
	var messages []*nats.Msg
	for len(messages) < count {
		msg, err := sub.NextMsg(timeout)
		if err != nil {
			return nil, fmt.Errorf("pull %s %s after %d: %w", stream, consumer, len(messages), err)
		}
		if status := msg.Header.Get("Status"); status != "" {
			return nil, fmt.Errorf("pull %s %s after %d: status %s", stream, consumer, len(messages), status)
		}
		messages = append(messages, msg)
	}
	return messages, nil
}

// settleMessages answers messages with word ("+ACK", "-NAK", "+TERM") and waits until the server took them.
func (c *client) settleMessages(word string, messages ...*nats.Msg) error {
	for _, msg := range messages {
		if _, err := c.nc.Request(msg.Reply, []byte(word), timeout); err != nil {
			return fmt.Errorf("%s %s: %w", word, msg.Reply, err)
		}
	}
	return nil
}

// report is what the writing server itself said about a case, just before the end.
type report struct {
	Server   string                   `json:"server"`
	Case     string                   `json:"case"`
	Accounts map[string]accountReport `json:"accounts"`
}

type accountReport map[string]streamReport

type streamReport struct {
	State     any            `json:"state"`
	Subjects  any            `json:"subjects,omitempty"`
	Consumers map[string]any `json:"consumers,omitempty"`
}

func (r report) save(path string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err = os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// describe asks for every stream's and consumer's state. Only those answers are kept that come from
// the store: no server names, no clients, no clocks.
func (c *client) describe(accounts map[string]accountReport, account string) error {
	names, err := c.api("STREAM.NAMES", nil)
	if err != nil {
		return err
	}
	streams := accountReport{}
	list, _ := names["streams"].([]any)
	for _, entry := range list {
		name := entry.(string)
		info, err := c.api("STREAM.INFO."+name, object{"deleted_details": true, "subjects_filter": ">"})
		if err != nil {
			return err
		}
		state, _ := info["state"].(object)
		one := streamReport{State: state, Subjects: state["subjects"]}
		delete(state, "subjects")
		if one.Consumers, err = c.describeConsumers(name); err != nil {
			return err
		}
		streams[name] = one
	}
	accounts[account] = streams
	return nil
}

func (c *client) describeConsumers(stream string) (map[string]any, error) {
	answer, err := c.api("CONSUMER.LIST."+stream, nil)
	if err != nil {
		return nil, err
	}
	consumers := map[string]any{}
	list, _ := answer["consumers"].([]any)
	for _, entry := range list {
		info := entry.(object)
		kept := object{}
		for _, key := range []string{"delivered", "ack_floor", "num_ack_pending", "num_redelivered", "num_pending"} {
			value := info[key]
			if pair, ok := value.(object); ok {
				delete(pair, "last_active")
			}
			kept[key] = value
		}
		consumers[info["name"].(string)] = kept
	}
	return consumers, nil
}
