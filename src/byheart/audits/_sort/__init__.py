"""The parts of `byheart.audits.book_sort`."""
