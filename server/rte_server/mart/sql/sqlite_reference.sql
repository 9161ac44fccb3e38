-- The reference schema of the embedded data mart. Change it as you like: add columns and tables with a `customer_id`.

CREATE TABLE customer (
  customer_id TEXT PRIMARY KEY,
  segment TEXT,
  lifetime_value REAL,
  order_count INTEGER,
  is_newsletter_reader BOOLEAN,
  preferences JSON,
  updated_at DATETIME
);

-- The orders of a customer; sessions show the last 10.
CREATE TABLE recent_orders (
  order_id TEXT PRIMARY KEY,
  customer_id TEXT NOT NULL,
  order_time DATETIME NOT NULL,
  total DECIMAL(12, 2),
  item_count INTEGER
);

CREATE INDEX recent_orders_by_customer ON recent_orders (customer_id, order_time);

-- What to show to a customer, best first; such as a nightly job writes.
CREATE TABLE recommended_products (
  customer_id TEXT NOT NULL,
  rank INTEGER NOT NULL,
  item_id TEXT NOT NULL,
  score REAL,
  reason TEXT,
  PRIMARY KEY (customer_id, rank)
);
