package exec

import (
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
)

// publishEvents publishes what the commands of a transaction did to keys, in order. REQUIRES: the locks under
// which it was made, so that what happens to one key is published in the order in which it happens; and that no
// reply has been sent, so that whoever acts on a reply comes later for the subscribers, too.
func (x *Executor) publishEvents(t *keyspace.Txn) {
	events := t.Events()
	if len(events) == 0 {
		return
	}
	want, hub := keyevent.Class(x.Store().Events.Load()), x.Node.PubSub()
	var channel []byte
	for i := range events {
		e := &events[i]
		if want&keyevent.Keyspace != 0 {
			channel = keyevent.AppendKeyspace(channel[:0], e.DB, e.Key)
			hub.Publish(channel, []byte(e.Name), false)
		}
		if want&keyevent.Keyevent != 0 {
			channel = keyevent.AppendKeyevent(channel[:0], e.DB, e.Name)
			hub.Publish(channel, e.Key, false)
		}
	}
	t.DropEvents(0)
}
