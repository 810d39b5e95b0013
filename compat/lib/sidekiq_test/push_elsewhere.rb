# Pushes jobs from a process of its own and prints their ids: push_elsewhere.rb APP CLASS PART QUEUE COUNT

app, job, part, queue, count = ARGV
require app

Integer(count).times { puts Object.const_get(job).set(queue: queue).perform_async(part) }
