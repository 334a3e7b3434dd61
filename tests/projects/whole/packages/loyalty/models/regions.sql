select 'not those of the project' as region
