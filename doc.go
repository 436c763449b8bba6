// Package natsorm is an ORM on NATS JetStream key-value buckets. Define a struct and get
// a database, with secondary and unique indexes that are never wrong. The server runs
// inside your process, or it is the NATS that you already run.
//
//	type User struct {
//		ID    int64  `json:"id"    orm:"primaryKey,auto"`
//		Name  string `json:"name"  orm:"index"`
//		Email string `json:"email" orm:"unique"`
//		Age   int    `json:"age"`
//	}
//
//	db, err := natsorm.Open(ctx, natsorm.Config{Bucket: "shop"})
//	users, err := natsorm.Define[User](ctx, db)
//
//	err = users.Create(ctx, &User{Name: "Alice", Email: "alice@example.com", Age: 30})
//	alice, err := users.FindOne(ctx, natsorm.Where{"email": "alice@example.com"})
//	n, err := users.Update(ctx, natsorm.Set{"age": 31}, natsorm.Eq("id", alice.ID))
//	n, err = users.Destroy(ctx, natsorm.Eq("id", alice.ID))
//
// There are four nouns. A [DB] is a bucket. A [Model] is a kind of record in it. A record
// is one JSON document under one key. A [Query] says which records a call is about. DBs
// and Models are safe for concurrent use. Queries are values: goroutines may share them,
// and building one does no I/O.
//
// # Declaring models
//
// [Define] declares the model of a struct type and registers it in the bucket's
// catalogue. Fields are columns under their JSON names. Tags name the primary key, the
// indexes, and the fields that natsorm fills in; the documentation of Define lists them.
// An index that is declared later is built from the records that exist.
//
// The catalogue knows every model that was ever defined in the bucket, so a program
// needs no Go type: [DB.Model] opens a model by its name, and [DefineRecord] defines one
// from a [Schema]. Their records are maps.
//
// # Queries
//
// Conditions such as [Eq], [Gte] and [Like] select records, and [And], [Or] and [Not]
// combine them. [Where] is short for several [Eq], and [Column] makes conditions that the
// compiler checks. Of several queries in one call, all have to be fulfilled. [OrderBy],
// [Limit], [Offset], [After] and [Select] shape what is returned; [Model.GroupBy] and its
// neighbours aggregate, and [Having] selects groups. [FindAllInto] and [GroupByInto] return
// structs of the caller's.
//
//	page, total, err := users.FindAndCountAll(ctx, natsorm.Gte("age", 18), natsorm.OrderBy("-age"), natsorm.Limit(20))
//
// A condition on the primary key, on a unique or indexed column, or on the first columns
// of a compound index is answered by reading only the records that it leads to, in one
// or two round trips. So is an [Or] of such conditions. Any other condition reads every
// record of the model. [Model.Explain] says which way a query takes, and what it asks of
// the server.
//
// # Writing
//
// [Model.Create], [Model.Save] and [Model.Upsert] write one record. [Model.Update],
// [Model.Increment] and [Model.Destroy] change every record that their queries select.
// They change each record by itself, and only if it is still selected at that moment.
// They refuse to run without a condition; [All] says that every record is meant.
//
// [Model.UpdateOne] changes one record and returns it, [Model.FindOrCreate] finds a record
// by a key or a unique value or creates it, and so does [Model.Upsert] with [OnConflict].
// [IfRevision] makes a write depend on the revision that was read.
//
// # Transactions
//
// [DB.Transaction] makes any number of calls, of any models of the bucket, one step:
//
//	err = db.Transaction(ctx, func(ctx context.Context) error {
//		n, err := users.Count(ctx, natsorm.Eq("name", "Alice"))
//		if err != nil || n > 0 {
//			return err
//		}
//		return users.Create(ctx, &User{Name: "Alice", Email: "alice@example.com"})
//	})
//
// Every call made with the context that the function gets is inside the transaction. The
// transaction is serializable. When other writes change what it has read, the function
// runs again, so it should have no effects but its calls. [Outside] is for a call that
// is meant to stand whatever becomes of the transaction.
//
// # What is guaranteed
//
// A record changes atomically. A lookup by an index finds every record that has the
// value, and no two records have the same unique value. This holds whatever others write
// at the same time, and wherever a program crashes. A crash may leave index entries that
// lead nowhere: readers pass over them, and [DB.Check] with [Repair], or [DB.Sweep],
// removes them.
//
// A call returns without an error only if it was done. When the server's answer is lost,
// the call finds out what became of its write. On a bucket with replicas, a DB sees what
// it has written, and [Model.Latest] sees what anyone has. docs/guarantees.md has all of
// it.
//
// # Errors
//
// Every error matches one of the package's sentinels with errors.Is, or it is the error
// of the server or of the context. [ErrNotFound] and its neighbours list them. Some have a
// type with more to say, such as [UniqueError]. [SafeToRetry] says whether the same call
// may simply be made again.
//
// # Watching
//
// [Model.Watch] delivers the creations, updates and deletions of the records that its
// queries select, with each record before and after the change.
//
// # In memory
//
// [Model.Local] keeps a model in the memory of the process, with the same reads. They ask nothing of the
// server, and show what the program has written. [Reader] is what a Model and a Local both are.
//
// # Operating
//
// [DB.Alter] changes the records of a model while programs use them.
// [DB.Check] compares the indexes with the records, and [DB.Sweep] takes what programs that died have
// left. [DB.Backup] writes the bucket to a
// file, and [DB.Restore] puts it back. With [SequelizeLayout], a model has the keys and
// bytes of the Node library sequelize-natskv, and [DB.ChangeLayout] moves it to natsorm's
// own layout, or back, while programs use it. [DB.Migrate] carries out the steps of a program's
// list that the bucket has not had yet, each once, however many programs begin at the same
// time, and [DB.Migrations] lists those that it has had.
//
// Package embedded runs a NATS server in the process. Package natsormtest gives each test
// a database. docs/format.md describes the keys and bytes in the bucket,
// docs/permissions.md the subjects to which a program needs access. docs/guide has a page
// for each thing that one does with natsorm, from the first hour to deployment.
package natsorm
