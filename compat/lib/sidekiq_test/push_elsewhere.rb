# Pushes jobs from a process of its own and prints their ids: push_elsewhere.rb APP PART QUEUE COUNT

app, part, queue, count = ARGV
require app

Integer(count).times { puts CountJob.set(queue: queue).perform_async(part) }
