// Package natsorm is an ORM on NATS JetStream key-value buckets: define a
// struct and get a database, with secondary and unique indexes that are never
// wrong, on a server inside the process or on a NATS that runs already.
//
//	type User struct {
//		ID    int64  `json:"id"    orm:"primaryKey,auto"`
//		Name  string `json:"name"  orm:"index"`
//		Email string `json:"email" orm:"unique"`
//	}
//
//	db, err := natsorm.Open(ctx, natsorm.Config{Bucket: "shop"})
//	users, err := natsorm.Define[User](ctx, db)
//
//	err = users.Create(ctx, &User{Name: "Alice", Email: "alice@example.com"})
//	alice, err := users.FindOne(ctx, natsorm.Where{"email": "alice@example.com"})
//	n, err := users.Update(ctx, natsorm.Set{"name": "Alicia"}, natsorm.Eq("id", alice.ID))
//	n, err = users.Destroy(ctx, natsorm.Eq("id", alice.ID))
//
// A [DB] is a bucket; a [Model] is a kind of record in it; a record is one JSON
// document under one key; a [Query] says which records a call is about. A DB
// and a Model are safe for concurrent use, and queries are values.
//
// # What is guaranteed
//
// A record changes atomically. A lookup by an index finds every record that
// has the value, and no two records have one unique value, whoever writes at
// the same time and whoever crashes while doing so. Entries that a crash
// leaves behind are passed over by readers; [DB.Check] with [Repair] removes
// them. Calls that change several records change each by itself; [DB.Transaction]
// makes any number of calls one step, serializable, over any models.
//
//	err = db.Transaction(ctx, func(ctx context.Context) error {
//		n, err := users.Count(ctx, natsorm.Eq("name", "Alice"))
//		if err != nil || n > 0 {
//			return err
//		}
//		return users.Create(ctx, &User{Name: "Alice", Email: "alice@example.com"})
//	})
//
// A call returns without an error only if it was done, and finds out when an
// answer was lost. On a bucket with replicas a DB sees what it has written, and
// [Model.Latest] what anyone has. All of it is in docs/guarantees.md.
//
// # Queries
//
// A condition on the primary key, a unique column or an indexed column, or the
// first columns of a compound index, is answered by reading just those records,
// in one or two round trips; so is an alternative of such conditions. Any other
// condition reads every record of the model. Conditions combine with And, Or
// and Not; several queries of one call combine with AND.
//
// [OrderBy], [Limit], [Offset], [After] and [Select] shape what is returned;
// [Model.GroupBy] and its neighbours aggregate. Which way a query takes, and
// what it asks of the server, is what [Model.Explain] says.
//
//	page, total, err := users.FindAndCountAll(ctx, natsorm.Gte("age", 18), natsorm.OrderBy("-age"), natsorm.Limit(20))
//
// # Errors
//
// Every error matches one of the package's sentinels with errors.Is, or is the
// server's or the context's own. See [ErrNotFound] and its neighbours.
//
// # Beside Node, and backups
//
// With [SequelizeLayout] a model has the keys and bytes of the Node library
// sequelize-natskv, and [Migrate] moves it to natsorm's own layout. [DB.Backup] and
// [DB.Restore] take and put back a bucket, while others use it.
//
// # Without a Go type
//
// The bucket's catalogue knows every model that was ever defined in it.
// [DB.Model] opens one by name, with records as maps; [DefineRecord] defines
// one from a [Schema].
//
// Packages: embedded runs a NATS server in the process, natsormtest gives each
// test a database. The keys and bytes in the bucket are in docs/format.md.
package natsorm
